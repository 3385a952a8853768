"""Compiled kernels in files that processes share: one for each signature, and no index.

numba numbers the files of a function's signatures in an index, which processes overwrite for each
other: two that compile the same function at once, each in its precision, give one number to both.
These classes are built on numba's own, which are no part of its documented interface.
"""

# mypy: allow-subclassing-any, allow-untyped-calls
from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from numba.core.caching import FunctionCache, IndexDataCacheFile

#: Signature, processor, and hashes of the function's own code.
Key = tuple[Any, Any, Any]


#: The folder of all kernels' sources.
SOURCES = Path(__file__).parents[1]


@cache
def digest_sources(folder: Path = SOURCES) -> str:
    """A hash of all source files below a folder: kernels use each other across files."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


class SignatureFiles(IndexDataCacheFile):
    """The files of one function.

    A file is named by its signature, says of which sources and which key it is, and replaces an
    older one in one step: a reader, or another process that compiles the same, sees neither half of
    it nor what belongs to another signature.

    Args:
        folder: of the files.
        name: what their names begin with.
        stamp: of the function's own file.
        variant: how the function was compiled.
    """

    def __init__(self, folder: str, name: str, stamp: object, variant: str) -> None:
        super().__init__(folder, name, stamp)
        self.folder, self.name, self.stamp, self.variant = Path(folder), name, stamp, variant

    def path(self, key: Key) -> Path:
        """The file of a signature on a processor."""
        digest = hashlib.sha256(repr((key[:2], self.variant)).encode()).hexdigest()
        return self.folder / f"{self.name}.{digest[:16]}.nbc"

    def save(self, key: Key, data: object) -> None:
        """Keep the code of a key; an error of the disk is raised."""
        with self._open_for_write(str(self.path(key))) as file:
            file.write(self._dump((self._version, self._origin(key), self._dump(data))))

    def load(self, key: Key) -> object:
        """The code of a key where these sources made it, else ``None``."""
        try:
            version, origin, data = pickle.loads(self.path(key).read_bytes())
        except (OSError, pickle.UnpicklingError, EOFError, ValueError):
            return None
        if (version, origin) != (self._version, self._origin(key)):
            return None
        return pickle.loads(data)

    def flush(self) -> None:
        """Remove the files of all signatures."""
        for path in self.folder.glob(f"{self.name}.*.nbc"):
            path.unlink(missing_ok=True)

    def _origin(self, key: Key) -> str:
        return repr((key, self.variant, self.stamp, digest_sources()))


class KernelCache(FunctionCache):
    """numba's cache of a function, in ``SignatureFiles``.

    Args:
        function: in Python.
        variant: how it is compiled; each variant has files of its own.

    Raises:
        AttributeError, TypeError: numba's classes are not those that this module knows.
    """

    def __init__(self, function: Callable[..., Any], variant: str) -> None:
        super().__init__(function)
        own = self._impl
        stamp = own.locator.get_source_stamp()
        files = SignatureFiles(self.cache_path, own.filename_base, stamp, variant)
        for needed in (files._open_for_write, files._dump, self._cache_file.save):
            assert callable(needed)
        self._cache_file = files
