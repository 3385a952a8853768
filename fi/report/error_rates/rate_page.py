"""``report.html`` of a campaign of rates."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment

from fi.base.text_files import write_text
from fi.report.error_rates.rate_figure import draw_rates
from fi.report.error_rates.rate_findings import RateFindings
from fi.report.error_rates.rate_table import list_shown
from fi.report.facts import options, provenance
from fi.report.headline import accuracy_percent, percent
from fi.report.picture import Picture
from fi.statistics.estimators import Estimate
from fi.statistics.intervals import METHODS
from fi.store.campaign_reader import PastCampaign


def write_rate_report(folder: Path, name: str, templates: Environment) -> Path:
    """Write the page into the folder of a campaign of rates; its path.

    Raises:
        FileError: its files are malformed, or no trial is finished.
    """
    found = RateFindings.of(PastCampaign(folder))
    path = folder / name
    write_text(path, rate_page(found, templates))
    return path


def rate_pictures(folder: Path) -> list[Picture]:
    """The figures of a campaign of rates."""
    return [draw_rates(RateFindings.of(PastCampaign(folder)))]


def rate_page(found: RateFindings, templates: Environment) -> str:
    """The whole page as text."""
    return templates.get_template("rates_page.html").render(
        title=f"{found.model} over bit-error rates",
        subtitle=_describe(found),
        warning=_warn(found),
        sentences=_sentences(found),
        pictures=[draw_rates(found)],
        headings=list(list_shown(found.cells)),
        rows=_rows(found),
        confidence=percent(found.confidence),
        method=METHODS[found.interval],
        facts=_facts(found),
        provenance=provenance(found.entries),
        config=options(found.path),
    )


def _describe(found: RateFindings) -> str:
    entries = found.entries
    return (
        f"{found.model} on {entries['data']}, {found.samples:,} test samples, {entries['steps']} "
        f"time steps; {found.trials:,} of the {entries['trials']:,} trials of "
        f"{entries['fault_list']}"
    )


def _warn(found: RateFindings) -> str:
    status = found.entries["status"]
    if status in ("finished", "started") and found.trials == found.entries["trials"]:
        return ""
    return (
        f"This campaign is not finished ({status}): rates have fewer trials than planned, or none."
    )


def _sentences(found: RateFindings) -> list[str]:
    sentences = [found.describe_crossing(scope) for scope in found.crossings]
    cells = found.of_scope(found.scopes[0])
    for cell in cells[:: max(1, len(cells) - 1)]:  # the lowest and the highest rate
        sentences.append(
            f"At a rate of {cell.rate:g}, {cell.hits:,.1f} faults a trial, accuracy is "
            f"{_percents(cell.accuracy)}; without a fault it is {accuracy_percent(found.golden)}."
        )
    return sentences


def _percents(found: Estimate) -> str:
    return f"{100 * found.rate:.2f} % ({100 * found.low:.2f} to {100 * found.high:.2f})"


def _rows(found: RateFindings) -> list[list[str]]:
    return [
        [
            *(cell.scope, f"{cell.rate:g}", f"{cell.trials:,}", f"{cell.hits:,.1f}"),
            *(_percents(cell.found[column]) for column in list_shown([cell]).values()),
        ]
        for cell in found.cells
    ]


def _facts(found: RateFindings) -> list[tuple[str, str]]:
    entries, plan = found.entries, found.entries["rates"]
    known = {
        "network": found.model,
        "data": f"{entries['data']}, {found.samples:,} samples in {entries['batches']} batches",
        "golden accuracy": accuracy_percent(found.golden),
        "stored words": entries["word_format"],
        "bits that may be hit": f"{plan['bits']:,}",
        "fault models": ", ".join(plan["plan"]["models"]),
        "intervals": f"{percent(found.confidence)}, {METHODS[found.interval].title}, over trials",
        "engine": entries.get("engine_why"),
        "status": entries["status"],
        "started": entries.get("started"),
        "ended": entries.get("ended"),
    }
    return [(name, str(value)) for name, value in known.items() if value not in (None, "")]
