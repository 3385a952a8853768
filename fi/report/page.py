"""``report.html``: the findings of a campaign as one page that needs no other file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.colors import to_hex

from fi.base.garbage import pause_collection
from fi.base.provenance import list_versions
from fi.base.text_files import write_text
from fi.report.error_rates.rate_page import rate_pictures, write_rate_report
from fi.report.facts import facts, options, provenance, subtitle, warning
from fi.report.figures import main_pictures
from fi.report.figures.site_maps import lowest, sites
from fi.report.findings import Findings
from fi.report.headline import SPACE, accuracy_percent, headline, percent
from fi.report.palette import severity_map
from fi.report.picture import Picture
from fi.report.rates import by_family, sdc_by
from fi.report.sections import critical_faults, find_protection
from fi.report.terminal.wide_intervals import describe_wide
from fi.statistics.intervals import METHODS
from fi.statistics.result_table import FAULTY_ACCURACY, OUTCOME_ROWS
from fi.store.campaign_reader import PastCampaign

NAME = "report.html"
_TEMPLATES = Path(__file__).parent / "templates"


@pause_collection()  # a quarter of the time that figures take
def write_report(folder: str | Path) -> Path:
    """Write ``report.html`` into the folder of a campaign, finished or not; its path.

    Raises:
        FileError: there is no campaign, or its files are malformed.
    """
    campaign = PastCampaign(Path(folder))
    if campaign.is_of_rates:
        return write_rate_report(campaign.path, NAME, environment())
    found = Findings.of(campaign)
    path = Path(folder) / NAME
    write_text(path, page(found))
    return path


def write_figures(folder: str | Path, into: str | Path) -> list[Path]:
    """Write every figure of a campaign as an SVG file into a folder; their paths."""
    campaign = PastCampaign(Path(folder))
    if campaign.is_of_rates:
        drawn = rate_pictures(campaign.path)
    else:
        drawn = pictures(Findings.of(campaign))
    return [picture.save(Path(into) / f"{picture.name}.svg") for picture in drawn]


def pictures(found: Findings) -> list[Picture]:
    """The figures of a campaign, those for which it has faults, in the order of the page."""
    return [] if found.table is None else [*main_pictures(found), *sites(found)]


def page(found: Findings) -> str:
    """The whole page as text."""
    return (
        environment()
        .get_template("report.html")
        .render(
            title=f"{found.model} under faults",
            subtitle=subtitle(found),
            warning=warning(found),
            sentences=headline(found),
            stands_on=found.stands_on,
            confidence=percent(found.confidence),
            method=METHODS[found.interval],
            facts=facts(found),
            provenance=provenance(found.entries),
            config=options(found.path),
            protection=find_protection(found.path),
            **_parts(found),
        )
    )


def environment() -> Environment:
    """The templates, with what every page shows; whatever they show is escaped."""
    found = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    style = (_TEMPLATES / "style.css").read_text(encoding="utf-8")
    version = list_versions()["faulty-snn"]
    found.globals.update(version=version, style=style)
    return found


def _parts(found: Findings) -> dict[str, Any]:
    """What there is only where faults are finished."""
    if found.table is None:
        return dict.fromkeys(("cards", "pictures", "maps", "critical", "rates", "cells"), ())
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
        "rates": by_family(found),
        "note": describe_wide(
            found.table, found.results, found.design, found.confidence, found.interval
        ),
        "cells": [(key, table) for key in ("bit", "step") if (table := sdc_by(found, key))],
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
