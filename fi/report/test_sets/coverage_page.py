"""``coverage.html``: a chosen test set, what it covers and what it looks like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fi.base.text_files import write_text
from fi.detection.set_choice import RANDOM_SETS, ChosenSet
from fi.report.page import environment
from fi.report.picture import Picture

#: Of the page, in the folder of the campaign.
COVERAGE_PAGE = "coverage.html"


def write_coverage_page(
    path: Path, found: ChosenSet, detect: str, confidence: float, pictures: Sequence[Picture]
) -> None:
    """Write the page.

    Args:
        path: of the file.
        found: the set.
        detect: what is compared.
        confidence: of the intervals.
        pictures: the curve, and the samples where they could be drawn.
    """
    text = environment().get_template("coverage.html").render(
        title=f"{len(found.samples)} samples that detect critical faults by {detect}",
        sentences=_describe(found, confidence),
        pictures=pictures,
        rows=[_format_row(row) for row in found.curve.to_dict("records")],
    )  # fmt: skip
    write_text(path, text)


def _describe(found: ChosenSet, confidence: float) -> list[str]:
    whole, chosen, measured = found.whole, found.chosen, found.measured_on
    ends = f"{100 * confidence:g} % interval"
    return [
        f"Critical is a fault with {found.rule.text}: {chosen.critical:,} of the "
        f"{len(measured.results):,} faults of {measured.name}, which the choice did not see.",
        f"The {len(found.samples)} samples detect {100 * chosen.rate:.1f} % of them ({ends} "
        f"{100 * chosen.low:.1f} to {100 * chosen.high:.1f}); as many at random "
        f"{100 * found.random:.1f} %, the mean of {RANDOM_SETS} sets; all "
        f"{measured.detected.shape[1]:,} samples {100 * whole.rate:.1f} %.",
        f"{found.guarantee}.",
    ]


def _format_row(row: Mapping[Any, Any]) -> list[str]:
    percents = [f"{100 * row[name]:.1f}" for name in ("chosen_on", "coverage")]
    interval = f"{100 * row['low']:.1f} to {100 * row['high']:.1f}"
    places = [f"{int(row[name])}" for name in ("samples", "sample")]
    return [*places, *percents, interval, f"{100 * row['random']:.1f}"]
