"""Wall-clock time."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor

#: What is timed is run so often; the best time counts.
ROUNDS = 3


def time_work(work: Callable[[], object], on: Tensor) -> float:
    """Wall-clock seconds of ``work``, the queue of the device that has ``on`` included."""
    start = time.perf_counter()
    work()
    if on.is_cuda:
        torch.cuda.synchronize(on.device)
    return time.perf_counter() - start
