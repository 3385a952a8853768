"""Errors in one line, in the words of whoever typed the command."""

from __future__ import annotations

import re

from fi.cli.option_names import format_option, spell_as_typed

#: What ``read_words`` says of another value.
NO_WORDS = "wanted are words or numbers"

_LONGEST = 800
#: jsonargparse's types, in words.
_NUMBERS = {
    "PositiveInt": "an int above 0",
    "NonNegativeInt": "an int, 0 or more",
    "PositiveFloat": "a number above 0",
    "NonNegativeFloat": "a number, 0 or more",
}


def summarise_parser_error(text: str) -> str:
    """jsonargparse's errors, several lines long, as one."""
    text = spell_as_typed(" ".join(text.split()))
    if missing := re.fullmatch(r"the following arguments are required: (.*)", text):
        return f"missing: {', '.join(map(format_option, missing[1].split(', ')))}"
    if unknown := re.fullmatch(r"Option '(.*)' is not accepted", text):
        return f"unknown option {format_option(unknown[1])}"
    key = re.search(r'Parser key "(?:--)?([^"]+)":', text)
    value = re.search(r"(?:Got|Given) value: (.*)|'([^']*)'$|(\S+) does not conform", text)
    wanted = re.findall(r"<class '(?:\w+\.)*(\w+)'>|Not of type (\w+)|Literal\[(.*?)\]", text)
    if key and text.endswith(NO_WORDS):
        return f"{format_option(key[1])} {text[key.end() :].strip()}"
    if not (key and value and wanted):
        return text
    types = " or ".join(_NUMBERS.get(number) or python or words for python, number, words in wanted)
    return f"{format_option(key[1])} {value[1] or value[2] or value[3]}: wanted is {types}"


def describe_error(error: BaseException) -> str:
    """An error in words; one of the operating system with the file that it is about."""
    if not isinstance(error, OSError):
        return str(error)
    where = "" if error.filename is None else f"{error.filename}: "
    return f"{where}{error.strerror or error}"


def make_printable(text: str) -> str:
    """An error's text in one line, whatever it quotes: escaped, without its middle where long."""
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    if len(text) <= _LONGEST:
        return text
    return f"{text[: _LONGEST - 200]} ... {text[-200:]}"
