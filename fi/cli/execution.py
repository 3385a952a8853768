"""Running a command: its exit status, its errors and warnings in one line each, signals."""

from __future__ import annotations

import shlex
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from fi.base.errors import FailedElsewhere, UserError
from fi.base.garbage import skip_last_collection
from fi.base.user_code import UserCodeError, describe_user_error, is_users_error
from fi.cli.error_text import describe_error, make_printable
from fi.cli.option_names import TRACEBACK


@contextmanager
def shorten_warnings() -> Iterator[None]:
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


@contextmanager
def _interrupt_on_sigterm() -> Iterator[None]:
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
    skip_last_collection()
    given = list(sys.argv[1:] if arguments is None else arguments)
    argv = [word for word in given if word != f"--{TRACEBACK}"]
    try:
        with shorten_warnings(), _interrupt_on_sigterm():
            run(argv)
    except FailedElsewhere:
        return 2
    except KeyboardInterrupt:
        kept = shlex.join(word for word in argv if word != "--overwrite")
        print(
            f"\ninterrupted; what is done is kept. To continue:\n  {command} {kept}",
            file=sys.stderr,
        )
        return 130
    except BaseException as error:
        if not isinstance(error, (UserError, OSError)) and not is_users_error(error):
            raise  # an error of ours: all of it is to be seen
        if argv != given:
            traceback.print_exception(error)
        print(f"error: {_say(error, argv != given)}", file=sys.stderr)
        return 2
    return 0


def _say(error: BaseException, shown: bool) -> str:
    """An error in one line; of a user's code with where the rest of it is, unless it was shown."""
    if is_users_error(error):
        text = make_printable(describe_user_error("code that is not ours", error))
        has_more = True
    else:
        text = make_printable(describe_error(error))
        has_more = isinstance(error, UserCodeError) and not error.kept
    return f"{text}; --{TRACEBACK} shows all of it" if has_more and not shown else text
