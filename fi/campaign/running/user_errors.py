"""Errors of a user's code while faults are run: told in a line, kept in the campaign's folder."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from fi.base.text_files import write_text
from fi.base.user_code import UserCodeError, describe_user_error, is_users_error

TRACEBACK_FILE = "traceback.txt"


@contextmanager
def keep_traceback(find_folder: Callable[[], Path | None]) -> Iterator[None]:
    """Write what a user's code raises into a folder, and say in one line where it was raised.

    Errors of our own pass. In a program, as opposed to a command, the error itself says more.

    Args:
        find_folder: the folder of the campaign, as far as there is one by then.

    Raises:
        UserCodeError: the user's code has raised an error, of whatever kind.
    """
    try:
        yield
    except BaseException as error:
        folder = find_folder()
        if not is_users_error(error) or folder is None:
            raise
        path = folder / TRACEBACK_FILE
        write_text(path, "".join(traceback.format_exception(error)))
        text = describe_user_error("a fault run", error)
        raise UserCodeError(f"{text}; all of it is in {path}", kept=True) from error
