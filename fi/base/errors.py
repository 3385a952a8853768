"""The error that a command reports in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class UserError(Exception):
    """Something that the user gave cannot be used; the message says what, where, what is allowed.

    The commands print it without a traceback and end with exit status 2.
    """


class FailedElsewhere(UserError):
    """The first process of several has failed; it says so, and the others end without a word."""


class GraphDiffers(UserError):
    """The stage graph recorded from a forward gives something else on some batch."""


class ContractBroken(RuntimeError):
    """The engines, or the results file, do not say what the full engine says."""


def first_line(error: BaseException) -> str:
    """The first line of an error's text, its type where there is none."""
    try:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    except Exception:  # of a class of the user's, whose text cannot be made
        lines = []
    return lines[0] if lines else type(error).__name__


@contextmanager
def report_errors(*kinds: type[Exception], prefix: str = "") -> Iterator[None]:
    """Errors of these kinds are the user's to mend: raise them as ``UserError``."""
    try:
        yield
    except kinds as error:
        raise UserError(prefix + first_line(error)) from error
