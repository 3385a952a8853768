"""Event frames of many recordings, kept as what is not zero, in memory and on disk."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Dataset

Integers = npt.NDArray[np.int64]
Frames = npt.NDArray[np.integer]
Sample = tuple[torch.Tensor, int]
Batch = tuple[torch.Tensor, torch.Tensor]

_ARRAYS = ("starts", "cells", "counts")


@dataclass(frozen=True)
class SparseFrames:
    """Event counts of recordings that have the same ``shape``, ``[time, ...]``.

    Recording i has ``counts[starts[i] : starts[i + 1]]`` in the ``cells`` (flat indices into
    ``shape``) of the same range.
    """

    shape: tuple[int, ...]
    starts: Integers
    cells: npt.NDArray[np.uint32]
    counts: npt.NDArray[np.uint16]

    @classmethod
    def of(cls, recordings: Iterable[Frames], shape: tuple[int, ...]) -> SparseFrames:
        """What is not zero in counts ``[time, ...]``, one recording at a time.

        Raises:
            ValueError: a recording has another shape, or counts that do not fit in 16 bits.
        """
        ends, cells, counts = [0], [np.zeros(0, np.uint32)], [np.zeros(0, np.uint16)]
        for frames in recordings:
            flat = checked(frames, shape).reshape(-1)
            cells.append(np.flatnonzero(flat).astype(np.uint32))
            counts.append(flat[cells[-1]].astype(np.uint16))
            ends.append(ends[-1] + len(cells[-1]))
        return cls(shape, np.array(ends, np.int64), np.concatenate(cells), np.concatenate(counts))

    def __len__(self) -> int:
        return len(self.starts) - 1

    def take(self, recordings: Integers) -> SparseFrames:
        """These recordings alone, in this order."""
        parts = [slice(self.starts[one], self.starts[one + 1]) for one in recordings.tolist()]
        starts = np.cumsum([0, *(part.stop - part.start for part in parts)], dtype=np.int64)
        cells, counts = (
            np.concatenate([values[:0], *(values[part] for part in parts)])
            for values in (self.cells, self.counts)
        )
        return SparseFrames(self.shape, starts, cells, counts)

    def frames(self, recording: int) -> npt.NDArray[np.float32]:
        """Event counts ``[time, ...]`` of one recording."""
        flat = np.zeros(math.prod(self.shape), np.float32)
        part = slice(self.starts[recording], self.starts[recording + 1])
        flat[self.cells[part]] = self.counts[part]
        return flat.reshape(self.shape)

    def batch(self, recordings: Sequence[int]) -> npt.NDArray[np.float32]:
        """Event counts ``[time, batch, ...]`` of some recordings.

        They are written where they belong: most counts are 0, and are not copied.
        """
        steps, *frame = self.shape
        size = math.prod(frame)
        flat = np.zeros(steps * len(recordings) * size, np.float32)
        for place, recording in enumerate(recordings):
            part = slice(self.starts[recording], self.starts[recording + 1])
            step, cell = np.divmod(self.cells[part].astype(np.int64), size)
            flat[(step * len(recordings) + place) * size + cell] = self.counts[part]
        return flat.reshape(steps, len(recordings), *frame)


def checked(frames: Frames, shape: tuple[int, ...]) -> Frames:
    """``frames``, which must be counts of ``shape`` that fit in 16 bits."""
    most = np.iinfo(np.uint16).max
    if frames.shape != shape:
        raise ValueError(f"frames must be {list(shape)}, got {list(frames.shape)}")
    if frames.size and not 0 <= frames.min() <= frames.max() <= most:
        raise ValueError(f"counts must lie in 0..{most}, got {frames.min()}..{frames.max()}")
    return frames


def kept(
    path: Path, shape: tuple[int, ...], make: Callable[[], tuple[SparseFrames, Integers]]
) -> tuple[SparseFrames, Integers]:
    """Frames and labels: from the file, or else made and written to it."""
    if path.exists():
        try:
            return load(path, shape)
        except Exception as damage:  # a damaged file makes zipfile and numpy raise almost anything
            warnings.warn(f"{path} is damaged ({damage}), it is made again", stacklevel=3)
    frames, labels = make()
    save(path, frames, labels)
    return frames, labels


def save(path: Path, frames: SparseFrames, labels: Integers) -> None:
    """Write an .npz file under a temporary name and rename it: no half-written file is left."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{uuid4().hex}.{path.name}")
    arrays = {name: getattr(frames, name) for name in _ARRAYS}
    try:
        np.savez(temporary, labels=labels, **arrays)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def load(path: Path, shape: tuple[int, ...]) -> tuple[SparseFrames, Integers]:
    """What ``save`` wrote. Its checksums are verified on the way: a damaged file raises."""
    with path.open("rb") as opened, np.load(opened) as file:
        return SparseFrames(shape, **{name: file[name] for name in _ARRAYS}), file["labels"]


class FrameDataset(Dataset[Sample]):
    """Recordings as ``(events [time, ...] float32 counts, label)``."""

    def __init__(self, frames: SparseFrames, labels: Integers) -> None:
        self.frames = frames
        self.labels = labels

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, item: int) -> Sample:
        return torch.from_numpy(self.frames.frames(item)), int(self.labels[item])

    def __getitems__(self, items: list[int]) -> Batch:
        """A whole batch, which a DataLoader asks for where there is this method."""
        return torch.from_numpy(self.frames.batch(items)), torch.from_numpy(self.labels[items])

    def load(
        self, batch_size: int, num_workers: int, shuffle: torch.Generator | None = None
    ) -> DataLoader[Sample]:
        """Batches ``(events [time, batch, ...], labels [batch])``, in order or shuffled."""
        return DataLoader(
            self,
            batch_size=batch_size,
            shuffle=shuffle is not None,
            generator=shuffle,
            num_workers=num_workers,
            collate_fn=_keep,
        )


def _keep(batch: Any) -> Any:
    """A batch that is one already; by its name, so that workers can be spawned."""
    return batch


def time_first(samples: Sequence[Sample]) -> Batch:
    """Samples ``(events [time, ...], label)`` as ``(events [time, batch, ...], labels)``."""
    events, labels = zip(*samples, strict=True)
    return torch.stack(events, dim=1), torch.tensor(labels)
