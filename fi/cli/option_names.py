"""Options as they are typed, ``--model.beta``, and as the parser knows them."""

from __future__ import annotations

import re

#: ``--model.beta`` is ``model_args.beta`` in a config file, beside ``model``.
ARGUMENTS = {"model": "model_args", "data": "data_args"}
#: The command that runs campaigns.
TEST = "python -m fi.test"
#: Of all commands; what runs them takes it.
TRACEBACK = "traceback"


def spell_for_parser(word: str) -> str:
    """``--model.beta`` as the parser knows it, ``--model_args.beta``."""
    return re.sub(r"^--(model|data)\.", lambda m: f"--{ARGUMENTS[m[1]]}.", word)


def spell_as_typed(text: str) -> str:
    """The inverse of ``spell_for_parser``, in any text."""
    return re.sub(r"(?:--)?\b(model|data)_args\.", r"--\1.", text)


def format_option(key: str) -> str:
    """``fault_list`` as it is typed; the names of a network's arguments are its own."""
    name = key.lstrip("-")
    return f"--{name}" if "." in name else f"--{name.replace('_', '-')}"
