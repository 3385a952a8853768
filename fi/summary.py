"""``summary.json``: what was run, and how it ended."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from fi.campaign_files import CampaignFiles
from fi.golden import GoldenRun
from fi.provenance import now, versions
from fi.sites import Kind
from fi.subject import Subject

#: Nominal coverage of the intervals in tables.
CONFIDENCE = 0.99


@dataclass(frozen=True)
class ListRecord:
    """Where the faults come from, for the summary.

    Attributes:
        name: of the list's file.
        scheme: how it was drawn; ``list`` is a list that the user gave.
        populations: site family -> number of its faults in the fault space; ``None``: not known.
    """

    name: str = "faults"
    scheme: str = "list"
    populations: Mapping[str, int | None] = field(default_factory=dict)


def described(subject: Subject, golden: GoldenRun, source: ListRecord) -> dict[str, Any]:
    """The entries that say what was tested."""
    families = [
        {"name": f.name, "shape": list(f.shape), "faults": source.populations.get(f.name)}
        for f in subject.sites
        if f.kind is not Kind.INPUT or f.name in source.populations
    ]
    return {
        "model": subject.name,
        "data": subject.data_name,
        "fault_list": source.name,
        "scheme": source.scheme,
        "confidence": CONFIDENCE,
        "batches": len(golden.labels),
        "batch_size": golden.batch_size,
        "samples": golden.samples,
        "steps": subject.steps,
        "golden_accuracy": golden.accuracy,
        "word_format": subject.word_format,
        "accuracy_before_conversion": subject.accuracy_before,
        "families": families,
    }


@contextmanager
def recorded(folder: CampaignFiles, entries: Mapping[str, Any], pairs: int) -> Iterator[None]:
    """The summary around a run of ``pairs`` pairs; its status says whether that has ended, and how.

    ``started``, then ``finished``, ``interrupted`` (Ctrl-C) or ``failed``.
    """
    start, started = time.monotonic(), now()

    def write(status: str, **more: Any) -> None:
        seconds = time.monotonic() - start
        times = {"started": started, "wall_seconds": round(seconds, 3)}
        folder.write_summary({"status": status, **entries, "versions": versions(), **times, **more})

    write("started")
    try:
        yield
    except BaseException as error:
        stopped = isinstance(error, KeyboardInterrupt)
        write("interrupted" if stopped else "failed", ended=now())
        raise
    speed = pairs / (time.monotonic() - start)
    write("finished", ended=now(), pairs=pairs, pairs_per_second=round(speed, 1))
