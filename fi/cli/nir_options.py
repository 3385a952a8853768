"""``--model FILE.nir``: the options that say how the file is read, and what reads it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast

from fi.base.errors import UserError
from fi.base.user_makers import Maker

#: Options on a NIR file, as typed.
NIR_OPTIONS = ("nir-rule", "dt", "nir-reset")
_ENDING = ".nir"
_RULES = "snntorch, spikingjelly, sinabs, norse"


def is_nir_file(name: str) -> bool:
    """Whether ``--model`` names a NIR file.

    Example:
        >>> is_nir_file("nets/net.nir"), is_nir_file("CSNN")
        (True, False)
    """
    return name.endswith(_ENDING)


def add_nir_options(add: Callable[..., Any]) -> None:
    """The options, by the ``add_argument`` of a group."""
    add(
        "--nir-rule",
        metavar="RULE",
        type=str,
        help=f"whose step of time its neurons take: {_RULES}; default: what the file says, or "
        "snntorch",
    )
    add(
        "--dt",
        metavar="S",
        type=float,
        help="of a step, in the unit of its tau; default: the file's, or the rule's",
    )
    add(
        "--nir-reset",
        metavar="HOW",
        type=str,
        help="of membranes: to a value, or subtract the threshold; default: the rule's",
    )


def check_nir_options(given: Mapping[str, Any], model: str | None) -> None:
    """Raise ``UserError`` for such options of a network that is from no NIR file.

    Args:
        given: options by name that are set.
        model: what ``--model`` says.
    """
    set_here = [name for name in NIR_OPTIONS if given.get(name.replace("-", "_")) is not None]
    if set_here and not is_nir_file(model or ""):
        names = ", ".join(f"--{name}" for name in set_here)
        raise UserError(f"{names}: for a network from a NIR file, --model FILE{_ENDING}")


def make_nir_maker(name: str, given: Mapping[str, str]) -> Maker:
    """A function that reads the file; its arguments are options, ``--model.softmax``.

    Args:
        name: the file.
        given: values of ``NIR_OPTIONS`` that are set, as texts.
    """
    path = Path(name).expanduser()

    def read(readout: Literal["count", "membrane-max"] | None = None, softmax: bool = True) -> Any:
        from fi.exchange.nir_reader import read_network  # PyTorch takes a second

        return read_network(
            path, given.get("nir-rule"), _read_step(given), given.get("nir-reset"), readout, softmax
        )

    read.__name__ = path.stem or "nir"
    return cast(Maker, read)


def _read_step(given: Mapping[str, str]) -> float | None:
    text = given.get("dt")
    try:
        return None if text is None else float(text)
    except ValueError as error:
        raise UserError(f"--dt {text}: allowed is a number above 0") from error


def spell_in_config(options: Sequence[str]) -> dict[str, str]:
    """Options as a config file spells them -> as they are typed."""
    return {option.replace("-", "_"): option for option in options}
