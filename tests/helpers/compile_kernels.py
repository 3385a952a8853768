"""Compile the kernels in one precision: what several processes of the tests would do each."""

from __future__ import annotations

import sys

import torch
from stage_kinds import FAST, MIXED, cut, events, every_fault, input_shape, network_of

from fi.engine.differential.engine import DifferentialEngine
from fi.faults.fault import Fault
from fi.faults.fault_sites import INPUT


def compile_kernels(dtype: torch.dtype) -> None:
    """Run faults of every family, and a trial of two, in every kind of stage, and of graph."""
    graphs = MIXED if dtype == torch.float32 else ()  # snnTorch's RLeaky has no float64
    for kind in (*FAST, *graphs):
        for readout in ("count", "membrane"):
            network = network_of(kind, readout, dtype)
            line = Fault(0, INPUT, (0,) * len(input_shape(network)), 23)
            faults = [*every_fault(network, each=1), line]
            engine = DifferentialEngine(network, network)
            ((batch, _),) = cut(events(input_shape(network), 3).to(dtype), (3,))
            with torch.inference_mode(), engine.injected([*faults, tuple(faults[:2])]):
                for _ in engine.pairs(batch, 0):
                    pass


if __name__ == "__main__":
    torch.set_num_threads(1)
    compile_kernels(getattr(torch, sys.argv[1]))
