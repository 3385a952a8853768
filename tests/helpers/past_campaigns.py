"""Campaigns on disk with counts of our choice, for what reads them afterwards."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fi.faults.fault import Fault
from fi.metrics.counts import COUNT_COLUMNS
from fi.statistics.survey_design import Design, FamilyFaults
from fi.store.results_file import ResultsFile

SAMPLES, GOLDEN = 50, 45
FAMILIES = {
    "conv1.weight": (3, 2, 2, 2),
    "lif1.potential": (3, 4, 5),
    "lif1.beta": (5,),
    "fc1.weight": (4, 60),
    "lif2.spike": (4,),
    "lif2.gain": (),
}


def design(scheme: str, steps: Sequence[str] = ("",)) -> Design:
    """A draw from all bit flips of ``FAMILIES``, at each of ``steps``."""
    bits = {"bit-flip": tuple(map(str, range(32)))}
    sizes = {name: int(np.prod(shape, dtype=int)) for name, shape in FAMILIES.items()}
    families = tuple(FamilyFaults(*item, bits) for item in sizes.items())
    return Design(scheme, families, tuple(steps))


def summary(faults: int, **changes: Any) -> dict[str, Any]:
    """What a finished campaign says of itself."""
    families = [
        {"name": name, "shape": list(shape), "faults": 32 * int(np.prod(shape, dtype=int))}
        for name, shape in FAMILIES.items()
    ]
    return {
        "status": "finished",
        "model": "Net",
        "data": "Data <&>",
        "fault_list": "7_fault_list.csv",
        "scheme": "network-wise",
        "confidence": 0.99,
        "batches": 2,
        "batch_size": 25,
        "samples": SAMPLES,
        "steps": 6,
        "golden_accuracy": GOLDEN / SAMPLES,
        "families": families,
        "draw": design("network-wise").record(),
        "faults": faults,
        "engine": "full",
        "engine_why": "full engine",
        "precision": "32-true",
        "decided": {"forward": faults * SAMPLES},
        "versions": {"python": "3.11"},
        "machine": {"command": ["test.py", "--model", "Net"]},
        "hashes": {"weights": "ab"},
    } | changes


def some_faults(number: int, seed: int = 0, step: int | None = None) -> list[Fault]:
    """Different bit flips all over ``FAMILIES``; with ``step`` transient ones, up to that step."""
    draw = np.random.default_rng(seed)
    seen: dict[tuple[object, ...], None] = {}
    while len(seen) < number:
        name = list(FAMILIES)[draw.integers(len(FAMILIES))]
        index = tuple(int(draw.integers(size)) for size in FAMILIES[name])
        when = None if step is None else int(draw.integers(step + 1))
        seen[name, index, int(draw.integers(32)), "bit-flip", when] = None
    return [Fault(n, *fields) for n, fields in enumerate(seen)]  # type: ignore[arg-type]


def counts_of(sdc: Sequence[int], non_finite: Sequence[int] | None = None) -> dict[str, Any]:
    """Counts of faults that change ``sdc`` classes, all of which were right, and twice as many
    scores by a little."""
    changed = np.asarray(sdc, dtype=np.int64)
    zero = np.zeros_like(changed)
    little = np.minimum(2 * changed, SAMPLES - changed)
    columns = {
        "samples": zero + SAMPLES,
        "fully_masked": SAMPLES - changed - little,
        "sdc_1": changed,
        "sdc_0_5": little,
        "sdc_5_10": zero,
        "sdc_10_20": zero,
        "sdc_20": zero,
        "non_finite": zero if non_finite is None else np.asarray(non_finite, dtype=np.int64),
        "correct": np.maximum(GOLDEN - changed, 0),
        "golden_correct": zero + GOLDEN,
    }
    return {name: columns[name] for name in COUNT_COLUMNS}


def write_campaign(
    folder: Path,
    faults: Sequence[Fault],
    sdc: Sequence[int],
    non_finite: Sequence[int] | None = None,
    **changes: Any,
) -> Path:
    """A campaign's folder, ``output/<model>/<list>-<hash>``."""
    folder.mkdir(parents=True)
    entries = summary(len(faults), **changes)
    (folder / "summary.json").write_text(json.dumps(entries))
    values = [
        None if fault.layer.endswith(("potential", "spike")) else (0.5, float(2 ** fault.bits[0]))
        for fault in faults
    ]
    ResultsFile(folder / "results.csv").append(faults, counts_of(sdc, non_finite), values)
    return folder
