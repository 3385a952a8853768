"""``report.html``: the findings of a campaign as one page that needs no other file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.colors import to_hex

from fi.files import write_text
from fi.past_campaign import PastCampaign
from fi.provenance import versions
from fi.report.critical import critical_faults
from fi.report.figures import main_pictures
from fi.report.figures.sites import lowest, sites
from fi.report.findings import Findings
from fi.report.headline import SPACE, accuracy_percent, headline, percent
from fi.report.palette import severity_map
from fi.report.picture import NARROW, WIDE, Picture
from fi.table import FAULTY_ACCURACY, NON_FINITE, OUTCOME_ROWS, OVERALL

NAME = "report.html"
_TEMPLATES = Path(__file__).parent / "templates"
_RATES = {
    "fully_masked": "masked", "sdc_0_5": "0-5 %", "sdc_5_10": "5-10 %", "sdc_10_20": "10-20 %",
    "sdc_20": "≥ 20 %", "sdc_1": "SDC-1",
}  # fmt: skip


def write_report(folder: str | Path) -> Path:
    """Write ``report.html`` into the folder of a campaign, finished or not; its path.

    Raises:
        FileError: there is no campaign, or its files are malformed.
    """
    found = Findings.of(PastCampaign(Path(folder)))
    path = Path(folder) / NAME
    write_text(path, page(found))
    return path


def write_figures(folder: str | Path, into: str | Path) -> list[Path]:
    """Write every figure of a campaign as an SVG file into a folder; their paths."""
    found = Findings.of(PastCampaign(Path(folder)))
    return [picture.save(Path(into) / f"{picture.name}.svg") for picture in pictures(found)]


def pictures(found: Findings) -> list[Picture]:
    """The figures of a campaign, those for which it has faults, in the order of the page."""
    return [] if found.table is None else [*main_pictures(found), *sites(found)]


def page(found: Findings) -> str:
    """The whole page as text."""
    return (
        environment()
        .get_template("report.html")
        .render(
            version=versions()["faulty-snn"],
            title=f"{found.model} under faults",
            subtitle=_subtitle(found),
            warning=_warning(found),
            style=style(),
            sentences=headline(found),
            wide=WIDE,
            narrow=NARROW,
            stands_on=found.stands_on,
            confidence=percent(found.confidence),
            facts=_facts(found),
            provenance=_provenance(found.entries),
            config=_config(found.path),
            **_parts(found),
        )
    )


def environment() -> Environment:
    """The templates; whatever they show is escaped."""
    return Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )


def style() -> str:
    """The style sheet of every page."""
    return (_TEMPLATES / "style.css").read_text(encoding="utf-8")


def _parts(found: Findings) -> dict[str, Any]:
    """What there is only where faults are finished."""
    if found.table is None:
        return dict.fromkeys(("cards", "pictures", "maps", "critical", "rates"), ())
    critical = critical_faults(found)
    colours = severity_map()
    return {
        "cards": _cards(found),
        "pictures": main_pictures(found),
        "maps": sites(found),
        "ramp": ",".join(to_hex(colours(step / 8)) for step in range(9)),
        "ramp_low": f"{lowest(found):.3g}",
        "critical": critical,
        "any_step": any(fault.step for fault in critical),
        "any_non_finite": any(fault.non_finite for fault in critical),
        "rates": _rates(found),
        "rate_names": list(_rate_rows(found)),
    }


@dataclass(frozen=True)
class _Card:
    name: str
    value: str
    more: str


def _cards(found: Findings) -> list[_Card]:
    def rate(row: str) -> tuple[str, str]:
        value, low, high = found.rate(row)
        return percent(value), f"{percent(low)} to {percent(high)}"

    confidence = percent(found.confidence)
    sdc, sdc_ends = rate(OUTCOME_ROWS["sdc_1"])
    masked, masked_ends = rate(OUTCOME_ROWS["fully_masked"])
    left = accuracy_percent(found.rate(FAULTY_ACCURACY)[0])
    pairs = len(found.faults) * found.samples
    return [
        _Card("Golden accuracy", accuracy_percent(found.golden), "without a fault"),
        _Card("With a fault", left, "mean over faults"),
        _Card("SDC-1", sdc, f"{confidence} interval {sdc_ends}"),
        _Card("Fully masked", masked, f"{confidence} interval {masked_ends}"),
        _Card("Faults", f"{len(found.faults):,}", f"on {found.samples:,} samples"),
        _Card("Pairs", short(pairs), f"{pairs:,}, of a fault and a sample"),
    ]


def short(number: int) -> str:
    """Three digits and a unit: ``16.3 M``."""
    value, units = float(number), ["G", "M", "k", ""]
    while value >= 999.5 and len(units) > 1:
        value /= 1000
        units.pop()
    return f"{value:.3g}{SPACE}{units[-1]}".rstrip()


@dataclass(frozen=True)
class _Cell:
    rate: str
    ends: str


@dataclass(frozen=True)
class _Row:
    family: str
    faults: str
    cells: Sequence[_Cell]


def _rates(found: Findings) -> list[_Row]:
    rows = _rate_rows(found).values()
    return [
        _Row(family, f"{found.count(family):,}", [_cell(found, row, family) for row in rows])
        for family in [*found.families, OVERALL]
    ]


def _rate_rows(found: Findings) -> dict[str, str]:
    """Heading -> row of the result table; what is not finite only where there is any."""
    rows = {heading: OUTCOME_ROWS[name] for name, heading in _RATES.items()}
    strange = {"not finite": NON_FINITE} if found.rate(NON_FINITE)[0] else {}
    return {**rows, "accuracy": FAULTY_ACCURACY, **strange}


def _cell(found: Findings, row: str, family: str) -> _Cell:
    rate, low, high = (f"{100 * value:.3f}" for value in found.rate(row, family))
    return _Cell(rate, f"{low} to {high}")


def _subtitle(found: Findings) -> str:
    entries = found.entries
    return (
        f"{found.model} on {entries['data']}, {found.samples:,} test samples, "
        f"{entries['steps']} time steps; {_count(found)} of {entries['fault_list']}"
    )


def _count(found: Findings) -> str:
    done, listed = len(found.faults), found.listed
    faults = f"fault{'s' * (listed != 1)}"
    return f"{done:,} {faults}" if done == listed else f"{done:,} of the {listed:,} {faults}"


def _warning(found: Findings) -> str:
    status = found.entries["status"]
    if status in ("finished", "started") and len(found.faults) == found.listed:
        return ""
    return (
        f"This campaign is not finished ({status}). A drawn list is in random order, so that the "
        "faults that are done are a sample of their own; the intervals are wider than planned."
    )


def _facts(found: Findings) -> list[tuple[str, str]]:
    entries = found.entries
    space = sum(family["faults"] or 0 for family in entries["families"])
    facts = {
        "network": found.model,
        "data": f"{entries['data']}, {found.samples:,} samples in {entries['batches']} batches",
        "golden accuracy": accuracy_percent(found.golden),
        "stored words": _words(found),
        "time steps": entries["steps"],
        "faults": f"{_count(found)} of {entries['fault_list']}, {entries['scheme']}",
        "fault models": ", ".join(sorted(set(found.results["Model"]))),
        "fault space": f"{space:,} faults in {len(entries['families'])} site families",
        "confidence": percent(found.confidence),
        "engine": entries.get("engine_why"),
        "precision": entries.get("precision"),
        "status": entries["status"],
        "started": entries.get("started"),
        "ended": entries.get("ended"),
        "pairs a second": _number(entries.get("pairs_per_second")),
    }
    return [(name, str(value)) for name, value in facts.items() if value not in (None, "")]


def _words(found: Findings) -> str:
    before = found.entries.get("accuracy_before_conversion")
    if before is None:
        return found.word_format
    return f"{found.word_format}; golden accuracy in float32: {accuracy_percent(before)}"


def _number(value: Any) -> str:
    return "" if value is None else f"{value:,.0f}"


def _provenance(entries: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Versions, machine and hashes, flat."""
    found = []
    for group in ("versions", "machine", "hashes"):
        for name, value in dict(entries.get(group, {})).items():
            text = " ".join(value) if name == "command" else value
            found.append((f"{group}: {name}", text if isinstance(text, str) else json.dumps(text)))
    return found


def _config(folder: Path) -> str:
    path = folder / "config.yaml"
    return path.read_text(encoding="utf-8") if path.is_file() else ""
