"""The outcome of every pair of a campaign: ``pairs.bin`` beside ``results.csv``.

A file of blocks, one for each group of trials that was stored: ``MAGIC``, the length of the block
and its CRC-32 as two little-endian ``uint32``, then the block, compressed by zlib. Uncompressed it
is the number of trials and of pairs as two ``uint64``, then five arrays: ``injection`` (``int64``)
and ``count`` (``uint32``) of the trials, ``sample`` (``uint32``), ``code`` and ``alarms``
(``uint8``) of the pairs, trial after trial, samples in their order, each less the one before it in
its trial. A pair that is not listed has the golden scores, and golden spikes and alarms where the
file has these. The first block is a JSON object, see ``PairsHead``.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fi.base.text_files import FileError, write_bytes
from fi.faults.fault import Trial
from fi.metrics.pair_codes import ALARM_BITS, unpack_pairs

#: Of the file in the folder of a campaign.
PAIRS_NAME = "pairs.bin"
MAGIC = b"FSNNPAIR"
VERSION = 2
_HEAD, _SIZES = struct.Struct("<II"), struct.Struct("<QQ")
#: A block is no longer than this, whatever a damaged file says.
_LONGEST = 1 << 31
_ARRAYS = (
    ("injection", "<i8"),
    ("count", "<u4"),
    ("sample", "<u4"),
    ("code", "u1"),
    ("alarms", "u1"),
)


class PairsError(FileError):
    """The pairs cannot be read, or do not belong to the results."""


@dataclass(frozen=True)
class PairsHead:
    """What a file says of all its pairs.

    Attributes:
        samples: how many the test set has.
        level: what of every pair was compared, ``scores``, or ``spikes`` as well.
        output: the layer whose spikes are the output; ``None`` where there is none, or where spikes
            are not compared.
        monitors: by name the samples that each reports without a fault.
        source: hash of the user's classes among the monitors.
    """

    samples: int
    level: str = "scores"
    output: str | None = None
    monitors: dict[str, list[int]] = field(default_factory=dict)
    source: str = ""

    def encode(self) -> bytes:
        """As JSON."""
        return json.dumps({"version": VERSION, **asdict(self)}).encode()

    @classmethod
    def decode(cls, path: Path, data: bytes) -> PairsHead:
        """What ``encode`` has made; ``PairsError`` where it is none."""
        try:
            read = json.loads(data)
            version = read.pop("version")
            known = cls(int(read.pop("samples")), **read) if version == VERSION else None
        except (ValueError, TypeError, KeyError, AttributeError):
            raise PairsError(f"{path}: no file of pairs") from None
        if known is None:
            raise PairsError(f"{path}: version {version}; allowed is {VERSION}")
        return known


@dataclass(frozen=True)
class PairBlock:
    """The pairs of some trials that have other scores than the golden ones.

    Attributes:
        injection: of each trial, ``int64 [trials]``.
        count: how many pairs each has, ``uint32 [trials]``.
        sample: places in the test set, ``uint32 [pairs]``, trial after trial, each in order.
        code: see ``fi.metrics.pair_codes``, ``uint16 [pairs]``.
    """

    injection: NDArray[np.int64]
    count: NDArray[np.uint32]
    sample: NDArray[np.uint32]
    code: NDArray[np.uint16]

    @classmethod
    def of(cls, trials: Sequence[Trial], packed: NDArray[np.int64]) -> PairBlock:
        """Of a group, and its pairs as ``pack_pairs`` makes them, in any order."""
        trial, sample, code = unpack_pairs(np.sort(packed))
        count = np.bincount(trial, minlength=len(trials)).astype(np.uint32)
        injections = np.array([trial[0].injection for trial in trials], np.int64)
        return cls(injections, count, sample.astype(np.uint32), code.astype(np.uint16))

    @classmethod
    def join(cls, blocks: Sequence[PairBlock]) -> PairBlock:
        """The trials of several, one behind the other."""
        return cls(
            np.concatenate([block.injection for block in blocks]),
            np.concatenate([block.count for block in blocks]),
            np.concatenate([block.sample for block in blocks]),
            np.concatenate([block.code for block in blocks]),
        )

    @property
    def trial(self) -> NDArray[np.int64]:
        """The row of the trial of each pair, ``int64 [pairs]``."""
        return np.repeat(np.arange(len(self.count)), self.count)

    def choose(self, wanted: NDArray[np.bool_]) -> PairBlock:
        """Some of the trials, ``bool [trials]``."""
        pairs = np.repeat(wanted, self.count)
        return PairBlock(
            self.injection[wanted], self.count[wanted], self.sample[pairs], self.code[pairs]
        )

    def encode(self) -> bytes:
        """The block, uncompressed."""
        steps = np.diff(self.sample.astype(np.int64), prepend=0)
        starts = np.cumsum(self.count) - self.count
        first = starts[self.count > 0]
        steps[first] = self.sample[first]
        codes = self.code & 0xFF, self.code >> ALARM_BITS
        arrays: list[NDArray[Any]] = [self.injection, self.count, steps, *codes]
        parts = [a.astype(kind).tobytes() for a, (_, kind) in zip(arrays, _ARRAYS, strict=True)]
        return b"".join([_SIZES.pack(len(self.injection), len(self.sample)), *parts])

    @classmethod
    def decode(cls, data: bytes, samples: int) -> PairBlock:
        """The block that ``encode`` has made; ``ValueError`` where it is none."""
        trials, pairs = _SIZES.unpack_from(data)
        lengths = (trials, trials, pairs, pairs, pairs)
        sizes = [n * np.dtype(kind).itemsize for n, (_, kind) in zip(lengths, _ARRAYS, strict=True)]
        if len(data) != _SIZES.size + sum(sizes):
            raise ValueError("its arrays are not as long as it says")
        at, arrays = _SIZES.size, []
        for length, size, (_, kind) in zip(lengths, sizes, _ARRAYS, strict=True):
            arrays.append(np.frombuffer(data, kind, length, at))
            at += size
        injection, count, steps, code, alarms = arrays
        code = code.astype(np.uint16) | np.left_shift(alarms, ALARM_BITS, dtype=np.uint16)
        if int(count.sum()) != pairs:
            raise ValueError("its trials have not as many pairs as it says")
        total = np.cumsum(steps.astype(np.int64))
        starts = np.cumsum(count.astype(np.int64)) - count
        before = np.concatenate([[0], total])[starts]
        sample = total - np.repeat(before, count)
        if len(sample) and not 0 <= sample.min() <= sample.max() < samples:
            raise ValueError(f"a sample is not among 0 to {samples - 1}")
        return cls(injection.astype(np.int64), count, sample.astype(np.uint32), code)


class PairsFile:
    """The file, as a campaign writes it and others read it.

    Args:
        path: ``pairs.bin``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def exists(self) -> bool:
        """Whether there is one."""
        return self.path.exists()

    def start(self, head: PairsHead) -> None:
        """Write the beginning of a file where there is none."""
        if not self.exists():
            write_bytes(self.path, _frame(head.encode()))

    def append(self, block: PairBlock) -> None:
        """Add a group in one durable write."""
        with self.path.open("ab") as file:
            file.write(_frame(block.encode()))
            file.flush()
            os.fsync(file.fileno())

    def read_head(self) -> PairsHead:
        """What it says of all pairs; ``PairsError`` where the file is no such."""
        for data in self._read_blocks():
            return PairsHead.decode(self.path, data)
        raise PairsError(f"{self.path}: no file of pairs")

    def blocks(self) -> Iterator[PairBlock]:
        """The groups, in the order in which they were stored.

        Raises:
            PairsError: the file is damaged; a last block that is not complete is left out.
        """
        samples = self.read_head().samples
        for number, data in enumerate(self._read_blocks()):
            if number:
                try:
                    yield PairBlock.decode(data, samples)
                except (ValueError, struct.error) as problem:
                    raise PairsError(f"{self.path}: block {number}: {problem}") from None

    def keep(self, injections: Collection[int]) -> None:
        """Drop what is not among these trials, and what a run that was killed has left.

        Raises:
            PairsError: a trial among them has no pairs here, or the file is damaged.
        """
        head = self.read_head()
        wanted = np.fromiter(injections, np.int64, len(injections))
        kept, whole = [], True
        for block in self.blocks():
            known = np.isin(block.injection, wanted)
            whole &= bool(known.all())
            kept.append(block.choose(known))
        seen = np.concatenate([block.injection for block in kept] or [np.zeros(0, np.int64)])
        missing = np.setdiff1d(wanted, seen)
        if len(missing):
            raise PairsError(
                f"{self.path}: injection {missing[0]} and {len(missing) - 1} others have results "
                "and no pairs; --overwrite runs them again"
            )
        if not whole or self._length() != self.path.stat().st_size:
            frames = [_frame(block.encode()) for block in kept if len(block.injection)]
            write_bytes(self.path, b"".join([_frame(head.encode()), *frames]))

    def join(self, parts: Iterable[PairsFile]) -> None:
        """Write what all ``parts`` have, of one test set, one behind the other."""
        parts = list(parts)
        heads = [part.read_head() for part in parts]
        for name in asdict(heads[0]):
            if any(getattr(head, name) != getattr(heads[0], name) for head in heads):
                raise PairsError(f"{self.path}: its parts have other {name}")
        frames = [_frame(block.encode()) for part in parts for block in part.blocks()]
        write_bytes(self.path, b"".join([_frame(heads[0].encode()), *frames]))

    def _length(self) -> int:
        """Where the last complete block ends."""
        at = 0
        for data in self._read_frames():
            at += len(MAGIC) + _HEAD.size + len(data)
        return at

    def _read_blocks(self) -> Iterator[bytes]:
        for data in self._read_frames():
            try:
                yield zlib.decompress(data)
            except zlib.error as problem:
                raise PairsError(f"{self.path}: damaged: {problem}") from None

    def _read_frames(self) -> Iterator[bytes]:
        try:
            file = self.path.open("rb")
        except OSError as problem:
            raise PairsError(f"{self.path}: {problem.strerror or problem}") from None
        with file:
            while head := file.read(len(MAGIC) + _HEAD.size):
                if len(head) < len(MAGIC) + _HEAD.size:
                    return
                if not head.startswith(MAGIC):
                    raise PairsError(f"{self.path}: damaged: no block begins at {file.tell()}")
                size, crc = _HEAD.unpack_from(head, len(MAGIC))
                data = file.read(size) if size <= _LONGEST else b""
                if len(data) < size:
                    return
                if zlib.crc32(data) != crc:
                    raise PairsError(f"{self.path}: damaged: a block before {file.tell()}")
                yield data


def _frame(block: bytes) -> bytes:
    data = zlib.compress(block, 6)
    return MAGIC + _HEAD.pack(len(data), zlib.crc32(data)) + data
