"""All scores that the differential engine gives."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fi.engine.differential.engine import DifferentialEngine
from fi.faults.fault import Fault
from fi.network.batches import Batch


def scores(
    engine: DifferentialEngine, faults: Sequence[Fault], batches: Sequence[Batch], group: int
) -> Tensor:
    """Scores of all pairs, ``[faults, samples, classes]``, in groups of ``group`` faults."""
    rows = []
    with torch.inference_mode():
        for start in range(0, len(faults), group):
            chosen = faults[start : start + group]
            with engine.injected(chosen):
                columns = []
                for number, (signal, _) in enumerate(batches):
                    golden = engine.infer(signal)
                    column = golden.expand(len(chosen), *golden.shape).clone()
                    for pairs in engine.pairs(signal, number):
                        column[pairs.fault, pairs.sample] = pairs.scores
                    columns.append(column)
            rows.append(torch.cat(columns, dim=1))
    return torch.cat(rows)
