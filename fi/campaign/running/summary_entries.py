"""What ``summary.json`` says of the network, the data and the fault list."""

from __future__ import annotations

from typing import Any

from fi.campaign.running.basis import RunBasis
from fi.campaign.subject import Subject
from fi.faults.fault_sites import Kind
from fi.faults.groups.grouped_families import find_family
from fi.statistics.intervals import METHODS
from fi.statistics.survey_design import Design


def summarise_subject(subject: Subject, basis: RunBasis) -> dict[str, Any]:
    """The entries that say what was tested."""
    golden, source = basis.golden, basis.source
    known = {family.name: family for family in subject.sites}
    grouped = [find_family(known, n) for n in source.populations if n not in known]
    sites = [*subject.sites, *(family for family in grouped if family is not None)]
    families = [
        {"name": f.name, "shape": list(f.shape), "faults": source.populations.get(f.name)}
        for f in sites
        if f.kind not in (Kind.INPUT, Kind.CIRCUIT) or f.name in source.populations
    ]
    return {
        "model": subject.name,
        "data": subject.data_name,
        "fault_list": source.name,
        "scheme": source.scheme,
        "seed": source.seed,
        "confidence": source.confidence,
        "interval": source.interval,
        "guarantee": METHODS[source.interval].guarantee,
        "batches": len(golden.labels),
        "batch_size": golden.batch_size,
        "samples": golden.samples,
        "steps": subject.steps,
        "golden_accuracy": golden.accuracy,
        "word_format": subject.word_format,
        "state_format": subject.state_format,
        **({} if subject.clamps is None else {"clamped": list(subject.clamps.by_family)}),
        "accuracy_before_conversion": subject.accuracy_before,
        "families": families,
        "draw": (source.design or Design.of_list([str(f["name"]) for f in families])).record(),
    }
