"""RandomEvents: noise in the shape of a data set, where the data set itself is not at hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from .lightning_data import LightningData
from .sparse_frames import Sample, time_first

Like = Literal["NMNIST", "DVSGesture", "SHD"]


@dataclass(frozen=True)
class Nature:
    """A data set's ``shape`` of a frame, frames, classes, and events in a cell of a frame."""

    shape: tuple[int, ...]
    num_steps: int
    num_classes: int
    rate: float


#: The published preprocessing's. N-MNIST's rate is that of 100 of its recordings, the others are
#: round numbers for recordings of some 7,000 (SHD) and 200,000 (DVS128 Gesture) events.
NATURES: dict[Like, Nature] = {
    "NMNIST": Nature((2, 34, 34), 100, 10, 0.0155),
    "DVSGesture": Nature((2, 128, 128), 25, 11, 0.25),
    "SHD": Nature((700,), 100, 20, 0.1),
}


class RandomEvents(LightningData):
    """Independent Poisson event counts and random labels: for benchmarks and the mechanics.

    Nothing can be recognised in them, so that accuracies are those of guessing, and rates of masked
    faults are not those on recordings. Batches are ``(events [time, batch, *shape] float32 counts,
    labels [batch] int64)``. A sample depends on its number and the seed only.

    Args:
        like: the data set whose shape, frames, classes and mean rate are taken where the options
            below do not say otherwise.
        shape: of a frame, such as [2, 34, 34] or [700].
        num_steps: number of frames.
        num_classes: labels are 0 to num_classes - 1.
        rate: mean number of events in a cell of a frame.
        samples: number of samples.
        batch_size: samples in a batch; the last one may be smaller.
        seed: of events and labels.
    """

    def __init__(
        self,
        like: Like = "NMNIST",
        shape: Sequence[int] | None = None,
        num_steps: int | None = None,
        num_classes: int | None = None,
        rate: float | None = None,
        samples: int = 256,
        batch_size: int = 128,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if like not in NATURES:
            raise ValueError(f"like must be one of {', '.join(NATURES)}, got {like!r}")
        nature = NATURES[like]
        self.input_shape = nature.shape if shape is None else tuple(shape)
        self.num_steps = nature.num_steps if num_steps is None else num_steps
        self.num_classes = nature.num_classes if num_classes is None else num_classes
        self.rate = nature.rate if rate is None else rate
        self.samples, self.batch_size, self.seed = samples, batch_size, seed
        counts = [*self.input_shape, self.num_steps, self.num_classes, samples, batch_size]
        if not self.input_shape or min(counts) < 1:
            raise ValueError(
                "shape, num_steps, num_classes, samples and batch_size must be at least 1, got "
                f"{list(self.input_shape)}, {', '.join(map(str, counts[len(self.input_shape) :]))}"
            )
        if not 0 <= self.rate <= 1_000:
            raise ValueError(f"rate must lie in 0..1000 events in a cell, got {self.rate}")

    def setup(self, stage: str | None = None) -> None:
        """Nothing: samples are drawn when they are asked for."""

    def test_dataloader(self) -> DataLoader[Sample]:
        """All samples, in a fixed order."""
        return DataLoader(_Noise(self), batch_size=self.batch_size, collate_fn=time_first)


class _Noise(Dataset[Sample]):
    def __init__(self, data: RandomEvents) -> None:
        self.data = data

    def __len__(self) -> int:
        return self.data.samples

    def __getitem__(self, item: int) -> Sample:
        data = self.data
        draw = np.random.default_rng([data.seed, item])
        counts = draw.poisson(data.rate, (data.num_steps, *data.input_shape))
        return torch.from_numpy(counts.astype(np.float32)), int(draw.integers(data.num_classes))
