"""The cache of SaccadeMNIST, made in seconds: digits that no test shows have no events."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fi.datamodules import SaccadeMNIST, saccade_mnist
from fi.datamodules.event_camera import record
from fi.datamodules.sparse_frames import SparseFrames, save

#: Digits for training, the last ones: those that the most validation digits leave.
TRAINING = 200


def write_shown_digits(root: Path) -> None:
    """Write the test digits and ``TRAINING`` others, at the defaults of the datamodule."""
    data = SaccadeMNIST(root)
    data.setup("test")
    images, labels = saccade_mnist.digits()
    chosen = saccade_mnist.assign(labels)[saccade_mnist.TRAINING]
    few = record(images[chosen[-TRAINING:]], data.num_steps, data.threshold)
    starts = np.concatenate([np.zeros(len(chosen) - TRAINING, np.int64), few.starts])
    frames = SparseFrames(few.shape, starts, few.cells, few.counts)
    save(data.cache_file(saccade_mnist.TRAINING), frames, labels[chosen])
