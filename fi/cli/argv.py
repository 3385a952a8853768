"""The words of a command line, before a parser reads them."""

from __future__ import annotations

from collections.abc import Sequence

from fi.base.user_classes import resolve_config
from fi.cli.option_names import spell_for_parser


def asks_for_help(argv: Sequence[str]) -> bool:
    """Whether ``argv`` asks for the help."""
    return bool({"-h", "--help"} & set(argv))


def find_value(argv: Sequence[str], option: str) -> str | None:
    """The last value of ``--option`` in ``argv``."""
    found = None
    for position, word in enumerate(argv):
        if word == f"--{option}" and position + 1 < len(argv):
            found = argv[position + 1]
        elif word.startswith(f"--{option}="):
            found = word.partition("=")[2]
    return found


def put_config_first(argv: Sequence[str]) -> list[str]:
    """``argv`` with ``--config`` in front, so that options win wherever they stand."""
    first: list[str] = []
    rest: list[str] = []
    words = iter(argv)
    for word in words:
        if word == "--config":
            first += [word, *([resolve_config(path)] if (path := next(words, "")) else [])]
        elif word.startswith("--config="):
            first.append(f"--config={resolve_config(word.partition('=')[2])}")
        else:
            rest.append(spell_for_parser(word))
    return first + rest
