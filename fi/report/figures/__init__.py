"""The figures of a report, one module each."""

from __future__ import annotations

from dataclasses import replace

from matplotlib.figure import Figure

from fi.report.figures.accuracy import accuracy
from fi.report.figures.decided import decided
from fi.report.figures.outcome_bars import outcomes
from fi.report.figures.rates_by_bit import bits
from fi.report.figures.rates_by_step import steps
from fi.report.findings import Findings
from fi.report.picture import Picture


def main_pictures(found: Findings) -> list[Picture]:
    """The figures of the whole network; what the campaign has no faults for is left out."""
    of_results = (figure(found) for figure in (outcomes, bits, steps, accuracy))
    once = [draw_once(picture, found) for picture in of_results if picture is not None]
    of_summary = decided(found)
    return once if of_summary is None else [*once, of_summary]


def draw_once(picture: Picture, found: Findings) -> Picture:
    """``picture``, drawn once for each width, for all who show these findings."""

    def draw(width: float) -> Figure:
        key = ("figure", picture.name, width)
        if key not in found.derived:
            found.derived[key] = picture.draw(width)
        figure: Figure = found.derived[key]
        return figure

    return replace(picture, draw=draw)
