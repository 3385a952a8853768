"""Objects of a user's classes as bytes that another machine can read, which lacks their files."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from fi.base.errors import UserError, first_line
from fi.base.user_code import is_users_file


def pack(value: Any, what: str) -> bytes:
    """``value`` with the code of all classes and functions of the user's that it is made of.

    Args:
        value: anything that can be pickled.
        what: to call it in the error.

    Raises:
        UserError: it cannot be pickled.
    """
    import cloudpickle

    with _users_modules_by_value():
        try:
            data: bytes = cloudpickle.dumps(value)
        except Exception as error:  # of a user's class, of whatever kind
            raise UserError(
                f"{what} cannot be sent to another process: {type(error).__name__}: "
                f"{first_line(error)}"
            ) from error
    return data


def pack_trials(trials: Sequence[Any]) -> bytes:
    """Trials, whose classes every machine has.

    Dask looks for tasks in what it is given, entry by entry of a list, which takes eight times as
    long.
    """
    return pickle.dumps(list(trials), pickle.HIGHEST_PROTOCOL)


def unpack(data: bytes) -> Any:
    """What ``pack`` or ``pack_trials`` has packed."""
    return pickle.loads(data)


@contextmanager
def _users_modules_by_value() -> Iterator[None]:
    import cloudpickle

    chosen = [module for name, module in list(sys.modules.items()) if _is_users(name, module)]
    for module in chosen:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in chosen:
            cloudpickle.unregister_pickle_by_value(module)


def _is_users(name: str, module: ModuleType) -> bool:
    """Whether other machines lack a module: ``__main__`` is packed by value in any case."""
    file = getattr(module, "__file__", None)
    known = name == "__main__" or name != getattr(module, "__name__", None)
    return not known and name.partition(".")[0] != "fi" and bool(file) and is_users_file(str(file))
