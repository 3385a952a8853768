"""Errors of code that a user wrote: one line that says where in it they were raised."""

from __future__ import annotations

import os
import re
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from fi.base.checkout_folders import folder_of
from fi.base.errors import UserError

_PACKAGE = Path(__file__).resolve().parents[1]
_STANDARD = Path(sysconfig.get_path("stdlib")).resolve()
#: Folders into which packages are installed, wherever they are.
_INSTALLED = {"site-packages", "dist-packages"}
#: What the error of a loader's worker has in its text.
_ELSEWHERE = "Original Traceback"
_PLACE = re.compile(r'File "([^"]+)", line (\d+)')


class UserCodeError(UserError):
    """Code that a user wrote has raised an error: its cause. The message says where.

    Args:
        text: the message.
        kept: whether it also says where all of the error was written to.
    """

    def __init__(self, text: str, kept: bool = False) -> None:
        super().__init__(text)
        self.kept = kept


@contextmanager
def report_user_code(doing: str) -> Iterator[None]:
    """Whatever is raised within is an error of the user's code.

    Args:
        doing: what was done, the first words of the message: ``--model ./net.py:Net``.

    Raises:
        UserCodeError: something was raised, but Ctrl-C and what is an error of ours already.

    Example:
        >>> with report_user_code("--model Net"):
        ...     {}["hidden"]
        Traceback (most recent call last):
        ...
        fi.base.user_code.UserCodeError: --model Net: KeyError: 'hidden'
    """
    try:
        yield
    except (UserError, KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:  # a module may call exit()
        raise UserCodeError(describe_user_error(doing, error)) from error


def describe_user_error(doing: str, error: BaseException) -> str:
    """What was raised while ``doing``, and the file and line of the user's code that did."""
    said = _summarise(error)
    text = f"{doing}: {type(error).__name__}{f': {said}' if said else ''}"
    place = find_user_line(error)
    return text if place is None else f"{text} ({place})"


def find_user_line(error: BaseException) -> str | None:
    """``net.py:12``, the innermost line of a user's code that an error passed; ``None`` if none.

    Where the worker of a loader has raised it, the line is in the text of the error.
    """
    if isinstance(error, SyntaxError) and error.filename and is_users_file(error.filename):
        return _format_place(error.filename, error.lineno or 0)
    passed = [*_walk(error.__traceback__), *_read_lines(_text_of(error))]
    lines = [line for line in passed if is_users_file(line[0])]
    return _format_place(*lines[-1]) if lines else None


def is_users_error(error: BaseException) -> bool:
    """Whether ``error`` is one of the user's code that nobody has put into words yet."""
    told = isinstance(error, (UserError, KeyboardInterrupt, GeneratorExit))
    return not told and was_raised_by_user(error)


def was_raised_by_user(error: BaseException) -> bool:
    """Whether a user's code has raised ``error``, or called a library that did.

    The innermost code that belongs to no library decides: our own, called by a user's forward, is
    ours.
    """
    own = [file for file, _ in _walk(error.__traceback__) if _is_ours(file) or is_users_file(file)]
    return bool(own) and not _is_ours(own[-1])


def _walk(traceback: TracebackType | None) -> Iterator[tuple[str, int]]:
    """File and line of every frame, the innermost one last."""
    while traceback is not None:
        yield traceback.tb_frame.f_code.co_filename, traceback.tb_lineno
        traceback = traceback.tb_next


def _read_lines(text: str) -> Iterator[tuple[str, int]]:
    """The same, of a traceback that another process has put into the text of its error."""
    if _ELSEWHERE in text:
        for found in _PLACE.finditer(text):
            yield found[1], int(found[2])


def _is_ours(file: str) -> bool:
    path = Path(file).resolve()
    return path.is_relative_to(_PACKAGE) or path.is_relative_to(folder_of("callbacks"))


def is_users_file(file: str) -> bool:
    """Whether ``file`` is a file that is neither ours nor a library's."""
    if not os.path.isfile(file):  # ``<string>``, what a library has compiled
        return False
    path = Path(file).resolve()
    is_library = path.is_relative_to(_STANDARD) or not _INSTALLED.isdisjoint(path.parts)
    return not is_library and not _is_ours(file)


def _format_place(file: str, line: int) -> str:
    path = Path(file).resolve()
    here = Path.cwd()
    return f"{path.relative_to(here) if path.is_relative_to(here) else path}:{line}"


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # of a class of the user's, whose text cannot be made
        return ""


def _summarise(error: BaseException) -> str:
    """The first line of the error's text; of one that a worker has passed on, the last one."""
    text = _text_of(error).strip()
    if isinstance(error, SyntaxError):
        return error.msg
    if _ELSEWHERE in text:
        return text.splitlines()[-1].removeprefix(f"{type(error).__name__}: ")
    return (text.splitlines() or [""])[0].strip()
