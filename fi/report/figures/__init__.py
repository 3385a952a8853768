"""The figures of a report, one module each."""

from __future__ import annotations

from fi.report.figures.accuracy import accuracy
from fi.report.figures.bits import bits
from fi.report.figures.decided import decided
from fi.report.figures.outcomes import outcomes
from fi.report.figures.steps import steps
from fi.report.findings import Findings
from fi.report.picture import Picture


def main_pictures(found: Findings) -> list[Picture]:
    """The figures of the whole network; what the campaign has no faults for is left out."""
    drawn = (figure(found) for figure in (outcomes, bits, steps, accuracy, decided))
    return [picture for picture in drawn if picture is not None]
