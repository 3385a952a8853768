"""The kernels are compiled once on a machine: a step of its own, which takes a minute."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from fi.engine.base import Engine
from fi.engine.compiled.kernels.building.compiling import KERNELS
from fi.engine.differential.engine import DifferentialEngine
from fi.faults.fault import Fault, Trial
from fi.faults.fault_sites import SiteFamily

#: A start from the cache takes less than this.
_PATIENCE = 3.0


def warm_up(
    engine: Engine,
    families: Sequence[SiteFamily],
    events: Tensor,
    say: Callable[[str], None],
    multi_fault: bool = False,
) -> None:
    """Run a fault of every family on one sample, and ``say`` so where that compiled the kernels.

    Args:
        engine: any; only a differential one on a CPU has something to compile.
        families: of its network.
        events: ``[time, batch, ...]``, in the precision of the run.
        say: takes lines for the user.
        multi_fault: whether trials of several faults are to come: they have a kernel of their own.
    """
    if not isinstance(engine, DifferentialEngine) or events.device.type != "cpu":
        return
    faults = [
        Fault(0, family.name, (0,) * len(family.shape), (family.width - 2,)) for family in families
    ]
    items: list[Fault | Trial] = [*faults, *([tuple(faults[-2:])] if multi_fault else [])]
    trial = DifferentialEngine(engine.network, engine.infer, engine.memory, threads=1)
    start, before = time.monotonic(), count_compiled()
    notice = threading.Timer(_PATIENCE, say, ["compiling the kernels, once on this machine ..."])
    notice.start()
    try:
        with torch.inference_mode(), trial.injected(items):
            for _ in trial.pairs(events[:, :1], 0):
                pass
    finally:
        notice.cancel()
    if count_compiled() > before:
        say(f"compiled the kernels in {time.monotonic() - start:.0f} s (once)")


def count_compiled() -> int:
    """How many kernels this process has compiled because the cache did not have them."""
    return sum(sum(kernel.stats.cache_misses.values()) for kernel in KERNELS)
