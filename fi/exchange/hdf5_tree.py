"""Reading an HDF5 file that nobody vouches for: sizes first, then values, and nothing else."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fi.base.errors import UserError, first_line

if TYPE_CHECKING:
    import h5py

#: A value of the file, or a group of values by name.
Tree = dict[str, Any]

#: Groups within groups; NIR needs six for a graph in a graph.
_DEPTH = 16
#: Groups and values together.
_ENTRIES = 100_000
_LONGEST_TEXT = 65_536
#: deflate, shuffle, fletcher32, lzf: filters of HDF5 and h5py themselves; others are plug-ins.
_FILTERS = frozenset({1, 2, 3, 32000})
_DEFLATE = 1
#: What h5py raises for a file that is damaged, in its many layers.
_DAMAGED = (OSError, KeyError, ValueError, RuntimeError, TypeError, OverflowError, AttributeError)


def read_values(path: Path, most_bytes: int) -> Tree:
    """All values of an HDF5 file, groups as dicts; ``reading.py`` calls it in a process of its own.

    Links to other files, links that are names, values in other files and filters that are plug-ins
    are refused, so that nothing but this file is read, and nothing is loaded.

    Args:
        path: of the file.
        most_bytes: that all of its values may take in memory.

    Raises:
        UserError: it is no such file, is damaged, or takes more memory.
    """
    try:
        import h5py
    except ImportError as error:
        raise UserError("NIR files are read by h5py: pip install '.[nir]'") from error
    try:
        with h5py.File(path, "r") as file:
            return _Reader(h5py, most_bytes).read_group(file, 0)
    except _DAMAGED as error:
        raise UserError(f"it is no HDF5 file, or damaged: {first_line(error)}") from error
    except MemoryError as error:
        raise UserError("its values do not fit into memory") from error


@dataclass
class _Reader:
    """What has been read so far, and what may be."""

    h5py: Any
    bytes_left: int
    entries: int = 0

    def read_group(self, group: h5py.Group, depth: int) -> Tree:
        if depth > _DEPTH:
            raise UserError(f"{group.name}: groups within groups, more than {_DEPTH} deep")
        found: Tree = {}
        for name in group:
            self.entries += 1
            if self.entries > _ENTRIES:
                raise UserError(f"more than {_ENTRIES} groups and values")
            if not isinstance(group.get(name, getlink=True), self.h5py.HardLink):
                raise UserError(f"{group.name}/{name}: a link to another place is not followed")
            item = group[name]
            if isinstance(item, self.h5py.Group):
                found[name] = self.read_group(item, depth + 1)
            elif isinstance(item, self.h5py.Dataset):
                found[name] = self.read_value(item)
            else:
                raise UserError(f"{item.name}: neither a group nor a value")
        return found

    def read_value(self, value: h5py.Dataset) -> Any:
        """A text, or an array of numbers or of texts."""
        text = self.h5py.check_string_dtype(value.dtype) is not None
        if not text and value.dtype.kind not in "fiub":
            raise UserError(f"{value.name}: wanted are numbers or texts, not {value.dtype}")
        self.check_size(value)
        if value.shape is None:
            raise UserError(f"{value.name}: it is empty")
        read = value.asstr()[()] if text else value[()]
        if text:
            texts = [read] if isinstance(read, str) else list(np.ravel(read))
            if any(len(one) > _LONGEST_TEXT for one in texts):
                raise UserError(f"{value.name}: a text of more than {_LONGEST_TEXT} characters")
        return read if isinstance(read, str) else np.asarray(read)

    def check_size(self, value: h5py.Dataset) -> None:
        """Whether what it says of itself fits, before memory is taken for it."""
        plan = value.id.get_create_plist()
        if value.is_virtual or value.external:
            raise UserError(f"{value.name}: values in another file are not read")
        filters = {plan.get_filter(number)[0] for number in range(plan.get_nfilters())}
        if filters - _FILTERS:
            raise UserError(f"{value.name}: unknown filter {min(filters - _FILTERS)}")
        size = (value.size or 0) * value.dtype.itemsize
        chunk = int(np.prod([value.dtype.itemsize, *(value.chunks or ())], dtype=object))
        if max(size, chunk if value.chunks else 0) > self.bytes_left:
            raise UserError(
                f"{value.name}: an array of {list(value.shape)} needs {size} bytes, more than "
                f"the {self.bytes_left} that are left of what this process may use"
            )
        self.bytes_left -= size
        if _DEFLATE in filters:
            self.check_chunks(value, chunk)

    def check_chunks(self, value: h5py.Dataset, size: int) -> None:
        """Whether no chunk is larger once it is unpacked than it may be."""
        for number in range(value.id.get_num_chunks()):
            where = value.id.get_chunk_info(number)
            if where.size > 2 * size + 4096:
                raise UserError(f"{value.name}: a chunk of {where.size} bytes for {size}")
            mask, packed = value.id.read_direct_chunk(where.chunk_offset)
            if mask:
                continue  # this chunk was stored as it is
            try:
                unpacked = zlib.decompressobj().decompress(packed, size + 8)
            except zlib.error as error:
                raise UserError(f"{value.name}: a chunk is damaged: {error}") from error
            if len(unpacked) > size + 4:  # a checksum may follow
                raise UserError(f"{value.name}: a chunk unpacks to more than its {size} bytes")
