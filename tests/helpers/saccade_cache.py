"""A cache file of SaccadeMNIST, made in seconds: digits that no test shows have no events."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fi.datamodules import SaccadeMNIST, saccade_mnist
from fi.datamodules.event_camera import record
from fi.datamodules.sparse_frames import SparseFrames, save

#: Digits for training, the last ones: those that the most validation digits leave.
TRAINING = 200


def write_shown_digits(path: Path) -> None:
    """Write the test digits and ``TRAINING`` others, at the defaults of the datamodule."""
    data = SaccadeMNIST()
    images, labels = saccade_mnist.digits()
    parts = saccade_mnist.split(labels, data.validation)
    shown = np.sort(np.concatenate([parts["test"], parts["train"][-TRAINING:]]))
    few = record(images[shown], data.num_steps, data.threshold)
    sizes = np.zeros(len(labels), np.int64)
    sizes[shown] = np.diff(few.starts)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    save(path, SparseFrames(few.shape, starts, few.cells, few.counts), labels)
