"""A user's files as modules: ``./nets/my_net.py``, which no package may have.

A file that Python finds by itself, because its folder or its package's is in ``sys.path``, has the
name that it has for everybody: ``my_net``. Any other is a submodule of this module whose name
spells its path. Two files of one name in two folders are two modules, then, and one file is one
however it is spelled. A process that starts afresh, as the worker of a loader does under ``spawn``,
finds it by the name that a pickled object carries: nothing has to be told to it.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import cache_from_source, find_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from fi.base.checkout_folders import FOLDERS, folder_of

#: To Python this is a package: it has submodules. They are in no folder.
__path__: list[str] = []

#: Module name -> time and size of its file when it was imported.
_imported: dict[str, tuple[int, int]] = {}


class UserFileFinder(MetaPathFinder):
    """Finds the submodules of this module."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The file that the last part of ``fullname`` spells; ``None`` for other modules."""
        parent, _, name = fullname.rpartition(".")
        return spec_from_file_location(fullname, spelled_path(name)) if parent == __name__ else None


def import_file(path: Path) -> ModuleType:
    """The module of a Python file.

    It is run once. Where the file has changed since then, it is run anew: in a notebook one edits
    a network and runs the campaign again.

    Raises:
        Exception: whatever the file raises.
    """
    path = path.resolve()
    importlib.invalidate_caches()  # the file may be newer than what Python knows of its folder
    name = importable_name(path) or f"{__name__}.{spell_path(path)}"
    state = path.stat()
    stamp = (state.st_mtime_ns, state.st_size)
    if _imported.get(name, stamp) != stamp:
        sys.modules.pop(name, None)
        with suppress(OSError):  # Python tells a file by its size and the second of its change
            Path(cache_from_source(str(path))).unlink(missing_ok=True)
    module = importlib.import_module(name)
    _imported[name] = stamp
    return module


def importable_name(path: Path) -> str | None:
    """The name by which ``import`` finds the file ``path``; ``None`` where it does not."""
    parts = [] if path.stem == "__init__" else [path.stem]
    folder = path.parent
    while (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    top = folder / parts[0]
    if parts[0] in FOLDERS and top == folder_of(parts[0]):
        return ".".join(["fi", *parts])
    if any("." in part for part in parts):
        return None
    origin = _origin_of(parts[0])
    return ".".join(parts) if origin in (top.with_suffix(".py"), top / "__init__.py") else None


def _origin_of(name: str) -> Path | None:
    """The file of a top-level module, which is not imported."""
    try:
        spec = find_spec(name)
    except ValueError:  # ``__main__``, and what others put among the modules
        return None
    return Path(spec.origin).resolve() if spec and spec.origin else None


def spell_path(path: Path) -> str:
    """A path as an identifier: ``_2fhome_2fme_2fnet_2epy``; other bytes than a-z, 0-9 are hex."""
    return re.sub(
        "[^a-zA-Z0-9]",
        lambda found: "".join(f"_{byte:02x}" for byte in os.fsencode(found[0])),
        str(path),
    )


def spelled_path(name: str) -> str:
    """The inverse of ``spell_path``."""
    spelled = re.sub(b"_([0-9a-f]{2})", lambda found: bytes([int(found[1], 16)]), os.fsencode(name))
    return os.fsdecode(spelled)


sys.meta_path.append(UserFileFinder())
