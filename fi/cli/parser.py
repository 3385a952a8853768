"""What the commands share: their parser, the network and data that options name, errors."""

from __future__ import annotations

import argparse
import re
import shlex
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser, Namespace

from fi.base.errors import FailedElsewhere, UserError, first_line
from fi.base.user_classes import config_file, find_class, own_classes

#: ``--model.beta`` is ``model_args.beta`` in a config file, beside ``model``.
_ARGUMENTS = {"model": "model_args", "data": "data_args"}
_KINDS = {"model": "models", "data": "datamodules"}
_LONGEST_ERROR = 800
_TRACEBACK = "traceback"
#: jsonargparse's types, in words.
_NUMBERS = {
    "PositiveInt": "an int above 0",
    "NonNegativeInt": "an int, 0 or more",
    "PositiveFloat": "a number above 0",
    "NonNegativeFloat": "a number, 0 or more",
}


class _Help(argparse.HelpFormatter):
    """Options with their defaults, where these say something."""

    def _get_help_string(self, action: argparse.Action) -> str:
        text = action.help or ""
        shown = action.default not in (None, False, argparse.SUPPRESS) and action.option_strings
        return f"{text} [%(default)s]" if shown and "%(default)s" not in text else text


class CommandParser(ArgumentParser):
    """jsonargparse's parser; errors are one line, ``--model.x`` are arguments of the network.

    Args:
        command: the command, ``python -m fi.test``.
        description: what it does.
        classes: for ``model`` and ``data``, the class whose constructor arguments are options.
        usage: the first line of the help.
    """

    def __init__(
        self,
        command: str,
        description: str,
        classes: dict[str, type],
        usage: str = "%(prog)s --model MODEL [options]",
    ) -> None:
        super().__init__(
            prog=command,
            description=description,
            usage=usage,
            formatter_class=_Help,
            exit_on_error=False,
            allow_abbrev=False,
            print_config=None,
        )
        self.classes = classes
        self.add_argument(  # run_command takes it: it is no option of what is run
            f"--{_TRACEBACK}",
            action="store_true",
            default=argparse.SUPPRESS,
            help="after an error, show where in the code it was raised",
        )

    def add_constructors(self) -> None:
        """Add the constructor arguments of the classes, the last groups of the help."""
        for option, cls in self.classes.items():
            key = _ARGUMENTS[option]
            self.add_class_arguments(cls, key, fail_untyped=False)
            for group in self._action_groups:
                if any(action.dest.startswith(f"{key}.") for action in group._group_actions):
                    group.title = f"Arguments of {cls.__name__}"
            for action in self._actions:
                if action.dest == key:  # a file for these arguments alone
                    action.help = argparse.SUPPRESS
                elif action.dest.startswith(f"{key}."):
                    action.metavar = action.dest.rpartition(".")[2].upper()

    def accept_any(self, option: str) -> None:
        """Take whatever arguments are given to a class that is not known here, unchecked."""
        self.add_argument(f"--{_ARGUMENTS[option]}", type=dict[str, Any], help=argparse.SUPPRESS)

    def format_help(self, formatter: argparse.HelpFormatter | None = None) -> str:
        return _spoken(super().format_help())

    def parse(self, argv: Sequence[str]) -> Namespace:
        """The options in ``argv``; ``UserError`` says in one line what is wrong."""
        try:
            found: Namespace = self.parse_args(_arranged(argv))
        except (argparse.ArgumentError, TypeError, ValueError, OSError, RecursionError) as error:
            text = _one_line(str(error))
            config = _value(argv, "config")
            where = "" if "--" in text or config is None else f"--config {config}: "
            raise UserError(where + text) from error
        self._check_values(found)
        return found

    def _check_values(self, found: Namespace) -> None:
        """Raise ``UserError`` for an option without a value (``null``) that cannot be without.

        Arguments of constructors are left to the types that these declare.
        """
        for action in self._actions:
            if action.dest.partition(".")[0] in _ARGUMENTS.values():
                continue
            usual = action.default not in (None, argparse.SUPPRESS)
            if usual and action.dest in found and found[action.dest] is None:
                raise UserError(f"{_option(action.dest)} has no value; default: {action.default}")

    def built(self, options: Namespace, which: str) -> Any:
        """The network or the datamodule that ``options`` describe."""
        cls, key = self.classes[which], _ARGUMENTS[which]
        try:
            arguments = Namespace({key: options[key]}) if key in options else Namespace()
            made = self.instantiate(arguments).get(key)
            return made if isinstance(made, cls) else cls()
        except Exception as error:  # whatever a user's constructor raises
            what = f"--{which} {options[which] or cls.__name__}"
            raise UserError(f"{what}: {type(error).__name__}: {first_line(error)}") from error

    def replayable(self, options: Namespace, without: Sequence[str]) -> str:
        """The options as YAML that ``--config`` reads."""
        kept = options.clone()
        for name in ("config", *without):
            kept.pop(name, None)
        text: str = self.dump(kept, skip_validation=True, skip_unset=False)
        return text


def chosen_classes(argv: Sequence[str], options: Sequence[str]) -> dict[str, type]:
    """The classes that ``--model`` and ``--data`` name, in ``argv`` or its ``--config``.

    Without ``--data`` it is the datamodule that the network names as its default. Empty where
    only help is asked for and no network is named.
    """
    given = {**_from_config(_value(argv, "config")), **_from_argv(argv)}
    if "model" not in given:
        if asks_for_help(argv):
            return {}
        raise UserError(f"--model is missing; known: {', '.join(own_classes('models'))}")
    classes = {"model": find_class(given["model"], "models")}
    if "data" in options:
        classes["data"] = chosen_data(argv, classes["model"])
    return classes


def chosen_data(argv: Sequence[str], network: type) -> type:
    """The datamodule that ``--data`` names, or else the network as its default."""
    given = {**_from_config(_value(argv, "config")), **_from_argv(argv)}
    data = given.get("data") or getattr(network, "default_data", None)
    if data is None:
        known = ", ".join(own_classes("datamodules"))
        raise UserError(f"{given['model']} names no default data: give --data; known: {known}")
    return find_class(data, "datamodules")


def asks_for_help(argv: Sequence[str]) -> bool:
    """Whether ``argv`` asks for the help."""
    return bool({"-h", "--help"} & set(argv))


def _from_argv(argv: Sequence[str]) -> dict[str, str]:
    values = {option: _value(argv, option) for option in _KINDS}
    return {option: value for option, value in values.items() if value is not None}


def _from_config(path: str | None) -> dict[str, str]:
    if path is None:
        return {}
    try:
        content = yaml.safe_load(Path(config_file(path)).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"--config {path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise UserError(f"--config {path} is no YAML: {_one_line(str(error))}") from error
    if not isinstance(content, dict):
        raise UserError(f"--config {path}: wanted are options by name, not {content!r:.60}")
    return {option: str(content[option]) for option in _KINDS if content.get(option)}


def _value(argv: Sequence[str], option: str) -> str | None:
    """The last value of ``--option`` in ``argv``."""
    found = None
    for position, word in enumerate(argv):
        if word == f"--{option}" and position + 1 < len(argv):
            found = argv[position + 1]
        elif word.startswith(f"--{option}="):
            found = word.partition("=")[2]
    return found


def _arranged(argv: Sequence[str]) -> list[str]:
    """``argv`` with ``--config`` in front, so that options win wherever they stand."""
    first: list[str] = []
    rest: list[str] = []
    words = iter(argv)
    for word in words:
        if word == "--config":
            first += [word, *([config_file(path)] if (path := next(words, "")) else [])]
        elif word.startswith("--config="):
            first.append(f"--config={config_file(word.partition('=')[2])}")
        else:
            rest.append(_written(word))
    return first + rest


def _written(word: str) -> str:
    """``--model.beta`` as the parser knows it, ``--model_args.beta``."""
    return re.sub(r"^--(model|data)\.", lambda m: f"--{_ARGUMENTS[m[1]]}.", word)


def _spoken(text: str) -> str:
    """The inverse of ``_written``, in any text."""
    return re.sub(r"(?:--)?\b(model|data)_args\.", r"--\1.", text)


def _one_line(text: str) -> str:
    """jsonargparse's errors, several lines long, as one."""
    text = _spoken(" ".join(text.split()))
    if missing := re.fullmatch(r"the following arguments are required: (.*)", text):
        return f"missing: {', '.join(map(_option, missing[1].split(', ')))}"
    if unknown := re.fullmatch(r"Option '(.*)' is not accepted", text):
        return f"unknown option {_option(unknown[1])}"
    key = re.search(r'Parser key "(?:--)?([^"]+)":', text)
    value = re.search(r"(?:Got|Given) value: (.*)|'([^']*)'$|(\S+) does not conform", text)
    wanted = re.findall(r"<class '(?:\w+\.)*(\w+)'>|Not of type (\w+)|Literal\[(.*?)\]", text)
    if not (key and value and wanted):
        return text
    types = " or ".join(_NUMBERS.get(number) or python or words for python, number, words in wanted)
    return f"{_option(key[1])} {value[1] or value[2] or value[3]}: wanted is {types}"


def _option(key: str) -> str:
    """``fault_list`` as it is typed; the names of a network's arguments are its own."""
    name = key.lstrip("-")
    return f"--{name}" if "." in name else f"--{name.replace('_', '-')}"


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Warnings that are meant for the user are one line, without a place in our code."""
    usual = warnings.formatwarning

    def formatted(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        line: str | None = None,
    ) -> str:
        if category is UserWarning:
            return f"warning: {message}\n"
        return usual(message, category, filename, lineno, line)

    warnings.formatwarning = formatted
    try:
        yield
    finally:
        warnings.formatwarning = usual


def _printable(text: str) -> str:
    """An error's text in one line, whatever it quotes: escaped, without its middle where long."""
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    if len(text) <= _LONGEST_ERROR:
        return text
    return f"{text[: _LONGEST_ERROR - 200]} ... {text[-200:]}"


def _error_text(error: Exception) -> str:
    """An error in words; one of the operating system with the file that it is about."""
    if not isinstance(error, OSError):
        return str(error)
    where = "" if error.filename is None else f"{error.filename}: "
    return f"{where}{error.strerror or error}"


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """``SIGTERM`` raises ``KeyboardInterrupt``, where this is the thread that gets signals."""

    def interrupt(*signal_and_frame: Any) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def run_command(
    command: str, run: Callable[[list[str]], None], arguments: Sequence[str] | None
) -> int:
    """Exit status of ``run(argv)``: 0, 2 after an error of the user's, 130 after Ctrl-C.

    An error is one line; with ``--traceback`` all of it stands before. ``SIGTERM``, which batch
    systems send before they kill, is taken for Ctrl-C.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    argv = [word for word in given if word != f"--{_TRACEBACK}"]
    try:
        with plain_warnings(), _terminated_as_interrupted():
            run(argv)
    except FailedElsewhere:
        return 2
    except (UserError, OSError) as error:
        if argv != given:
            traceback.print_exception(error)
        print(f"error: {_printable(_error_text(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        kept = shlex.join(word for word in argv if word != "--overwrite")
        print(
            f"\ninterrupted; what is done is kept. To continue:\n  {command} {kept}",
            file=sys.stderr,
        )
        return 130
    return 0
