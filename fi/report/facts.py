"""What was run, in words: the title, what is not finished, and where all of it came from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fi.report.findings import Findings
from fi.report.headline import accuracy_percent, percent
from fi.report.terminal.campaign_end import describe_check
from fi.statistics.intervals import METHODS


def subtitle(found: Findings) -> str:
    """Network, data, faults."""
    entries = found.entries
    return (
        f"{found.model} on {entries['data']}, {found.samples:,} test samples, "
        f"{entries['steps']} time steps; {_count(found)} of {entries['fault_list']}"
    )


def _count(found: Findings) -> str:
    done, listed = len(found.faults), found.listed
    one = "fault" if found.design.together == 1 else "trial"
    faults = f"{one}{'s' * (listed != 1)}"
    return f"{done:,} {faults}" if done == listed else f"{done:,} of the {listed:,} {faults}"


def warning(found: Findings) -> str:
    """That the campaign is not finished; empty where it is."""
    status = found.entries["status"]
    if status in ("finished", "started") and len(found.faults) == found.listed:
        return ""
    return (
        f"This campaign is not finished ({status}). A drawn list is in random order, so that the "
        "faults that are done are a sample of their own; the intervals are wider than planned."
    )


def facts(found: Findings) -> list[tuple[str, str]]:
    """Names and values of what was run."""
    entries = found.entries
    known = {
        "network": found.model,
        "data": f"{entries['data']}, {found.samples:,} samples in {entries['batches']} batches",
        "golden accuracy": accuracy_percent(found.golden),
        "stored words": _words(found),
        "time steps": entries["steps"],
        "faults": f"{_count(found)} of {entries['fault_list']}, {entries['scheme']}",
        "fault models": ", ".join(sorted(set(found.results["Model"]))),
        "fault space": _space(found),
        "intervals": f"{percent(found.confidence)}, {METHODS[found.interval].title}",
        "engine": entries.get("engine_why"),
        "checked": describe_check(entries) or None,
        "precision": entries.get("precision"),
        "status": entries["status"],
        "started": entries.get("started"),
        "ended": entries.get("ended"),
        "pairs a second": _number(entries.get("pairs_per_second")),
    }
    return [(name, str(value)) for name, value in known.items() if value not in (None, "")]


def _space(found: Findings) -> str:
    """What was drawn from, as far as it is known."""
    design, families = found.design, found.entries["families"]
    if design.known:
        size, number = sum(design.populations()["population"]), len(design.families)
    elif any(family["faults"] is None for family in families):
        return ""
    else:
        size, number = sum(family["faults"] for family in families), len(families)
    shown = f"{size:,}" if size < 10**15 else f"about 10^{len(str(size)) - 1}"
    unit = "faults" if design.together == 1 else f"trials of {design.together} faults"
    return f"{shown} {unit} in {number} site families"


def _words(found: Findings) -> str:
    before = found.entries.get("accuracy_before_conversion")
    if before is None:
        return found.word_format
    return f"{found.word_format}; golden accuracy in float32: {accuracy_percent(before)}"


def _number(value: Any) -> str:
    return "" if value is None else f"{value:,.0f}"


def provenance(entries: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Versions, machine and hashes, flat."""
    found = []
    for group in ("versions", "machine", "hashes"):
        for name, value in dict(entries.get(group, {})).items():
            text = " ".join(value) if name == "command" else value
            found.append((f"{group}: {name}", text if isinstance(text, str) else json.dumps(text)))
    return found


def options(folder: Path) -> str:
    """The campaign's ``config.yaml``; empty where there is none."""
    path = folder / "config.yaml"
    return path.read_text(encoding="utf-8") if path.is_file() else ""
