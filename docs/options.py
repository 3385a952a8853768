"""Writes the tables of options in ``reference.md``, from the commands' own parsers: make docs."""

from __future__ import annotations

import argparse
import importlib
import inspect
import re
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # the code beside this page, whatever is installed

from fi.base.user_classes import find_class, list_own_classes  # noqa: E402
from fi.cli.option_names import spell_as_typed  # noqa: E402
from fi.cli.parser import CommandParser  # noqa: E402

PAGE = ROOT / "docs" / "reference.md"
BEGIN, END = "<!-- options: written by make docs -->\n", "<!-- end of the options -->\n"
#: The order of the page; what is not named comes last, by name.
FIRST = ("fi.test", "fi.analyse", "fi.report", "fi.compare", "fi.coverage", "fi.merge", "fi.train")


def commands() -> list[str]:
    """Modules and packages of ``fi`` that run as a command, ``fi.test``."""
    files = sorted((ROOT / "fi").glob("*.py"))
    found = [f"fi.{file.stem}" for file in files if '__name__ == "__main__"' in file.read_text()]
    found += [f"fi.{file.parent.name}" for file in (ROOT / "fi").glob("*/__main__.py")]
    return sorted(found, key=lambda name: (*FIRST, name).index(name))


def main_of(command: str) -> Callable[[list[str]], int]:
    """What ``python -m fi.test`` calls."""
    is_package = (ROOT / command.replace(".", "/")).is_dir()
    module = importlib.import_module(f"{command}.command" if is_package else command)
    found: Callable[[list[str]], int] = module.main
    return found


def parser_of(command: str) -> CommandParser:
    """The parser of ``fi.test``, no network named."""
    module = sys.modules[main_of(command).__module__]
    if command == "fi.test":  # which imports its options when it has read what it is to test
        module = importlib.import_module("fi.cli.test_options")
    make = getattr(module, "make_parser", None) or module._parser
    parser: CommandParser = make({}) if inspect.signature(make).parameters else make()
    return parser


def tables() -> str:
    """Options of all commands, then the arguments of our networks and data sets."""
    parts = [_command(command) for command in commands()]
    parts += [_arguments("model", "Networks"), _arguments("data", "Data sets")]
    return "\n".join(parts)


def _command(command: str) -> str:
    parser = parser_of(command)
    lines = [f"### python -m {command}\n", f"{_text(parser.description or '')}\n"]
    for group in parser._action_groups:
        rows = [action for action in group._group_actions if _is_option(action)]
        if not rows:
            continue
        if group.title and group.title.lower() not in ("options", "optional arguments"):
            lines.append(f"{group.title}:\n")
        lines.append(_table(rows))
    return "\n".join(lines)


def _is_option(action: argparse.Action) -> bool:
    return action.help != argparse.SUPPRESS and not isinstance(action, argparse._HelpAction)


def _arguments(option: str, title: str) -> str:
    """The constructor arguments of our classes, ``--model.hidden``."""
    kind = {"model": "models", "data": "datamodules"}[option]
    lines = [f"### {title}\n", f"Arguments of what `--{option}` names.\n"]
    for name in list_own_classes(kind):
        parser = CommandParser("", "", {option: find_class(name, kind)})
        parser.add_constructors()
        key = f"{option}_args."
        rows = [action for action in parser._actions if action.dest.startswith(key)]
        lines += [f"`{name}`:\n", _table(rows) if rows else "None.\n"]
    return "\n".join(lines)


def _table(actions: list[argparse.Action]) -> str:
    rows = [f"| {_option(a)} | {_default(a)} | {_text(_meaning(a))} |" for a in actions]
    return "\n".join(["| option | default | what |", "|---|---|---|", *rows, ""])


def _option(action: argparse.Action) -> str:
    """``--limit-samples N``; a positional argument by its name."""
    value = "" if action.nargs == 0 else str(action.metavar or action.dest.upper())
    names = [spell_as_typed(name) for name in action.option_strings if not name.endswith("+")]
    said = any(re.sub(r".*[-.]", "", name).upper() == value for name in names)
    return f"`{', '.join(names)} {'' if said else value}".strip() + "`"


def _default(action: argparse.Action) -> str:
    shown = action.default
    if shown in (None, argparse.SUPPRESS, "") or (shown is False and action.nargs == 0):
        return "required" if action.required else ""
    return f"`{shown}`"


def _meaning(action: argparse.Action) -> str:
    text = (action.help or "") % {"default": action.default}
    return re.sub(r"\s*\((required, )?type: .*\)$", "", text)


def _text(text: str) -> str:
    return " ".join(text.replace("|", r"\|").replace("``", "`").split())


def renewed(page: str) -> str:
    """The page with the options as they are now."""
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n{tables()}\n{END}{rest.split(END)[1]}"


def main() -> None:
    """Renew the page."""
    page = PAGE.read_text(encoding="utf-8")
    new = renewed(page)
    PAGE.write_text(new, encoding="utf-8")
    print(f"{PAGE.relative_to(ROOT)} {'was up to date' if new == page else 'is renewed'}")


if __name__ == "__main__":
    main()
