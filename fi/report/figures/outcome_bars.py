"""What the faults of each site family did: stacked bars, and SDC-1 with its interval."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from fi.metrics.outcomes import DETECTED
from fi.report.figures.rows import FOOT, HEAD, ROW, gutter, label_rows, panel
from fi.report.findings import Findings
from fi.report.palette import COLOURS, FAINT, INK, NAMES, REPORTED, SEVERITY
from fi.report.picture import Picture
from fi.statistics.result_table import OUTCOME_ROWS, OVERALL

_SDC = OUTCOME_ROWS["sdc_1"]
_LEGEND = 0.15  # inches
_LEAST = 1e-3  # per cent, the left end of the logarithmic axis


def outcomes(found: Findings) -> Picture:
    """Outcome bars per family, stacked from the most severe, the most vulnerable family on top."""
    confidence = f"{100 * found.confidence:g} %"
    return Picture(
        "outcomes",
        "What the faults did, by site family",
        "Bars: the part of the pairs that did not stay masked, the darkest changed the class. "
        f"Dots: that part, SDC-1, with its {confidence} interval on a logarithmic scale from "
        f"{_LEAST:g} %; wide means few faults, a triangle that none was seen.",
        f"{found.stands_on}; the number behind each name is its faults",
        lambda width: _draw(found, width),
    )


def _draw(found: Findings, width: float) -> Figure:
    families = [*sorted(found.families, key=lambda f: -found.rate(_SDC, f)[0]), OVERALL]
    labels = [f"{name}  {found.count(name):,}" for name in families]
    left, rows = gutter(labels, width), ROW * len(labels)
    figure = Figure(figsize=(width, HEAD + _LEGEND + rows + FOOT))
    room = width - left - 0.15
    bars = panel(figure, left, FOOT, room * 0.56, rows)
    dots = panel(figure, left + room * 0.62, FOOT, room * 0.38, rows)
    dots.set(ylim=(len(labels) - 0.5, -0.5), yticks=[])
    label_rows(bars, labels, labels[-1:])
    _bars(bars, found, families)
    _dots(dots, found, families)
    figure.legend(
        *bars.get_legend_handles_labels(), loc="upper left", ncols=5,
        bbox_to_anchor=(0.0, 1.0), columnspacing=1.2, handlelength=1.1, borderaxespad=0.2,
    )  # fmt: skip
    return figure


def _bars(axes: Axes, found: Findings, families: Sequence[str]) -> None:
    places = np.arange(len(families))
    start = np.zeros(len(families))
    for outcome in reversed(SEVERITY[1:]):
        part = 100 * np.array([found.rate(OUTCOME_ROWS[outcome], f)[0] for f in families])
        axes.barh(places, part, 0.72, start, color=COLOURS[outcome], label=NAMES[outcome])
        start += part
    if found.has_code:
        part = 100 * np.array([found.rate(DETECTED, family)[0] for family in families])
        axes.barh(places, part, 0.72, start, color=REPORTED, label="detected, no answer")
        start += part
    axes.set_xlim(0, max(1e-9, start.max()) * 1.04 if start.max() else 1)
    axes.set_xlabel("% of the pairs, not masked")
    axes.xaxis.grid(True)
    axes.axhline(len(families) - 1.5, color=FAINT, linewidth=0.7)


def _dots(axes: Axes, found: Findings, families: Sequence[str]) -> None:
    rates = 100 * np.array([found.rate(_SDC, family) for family in families])
    places, shown = np.arange(len(families)), np.maximum(rates, _LEAST)
    axes.hlines(places, shown[:, 1], shown[:, 2], color=INK, linewidth=1.1)
    some = rates[:, 0] > 0
    axes.plot(shown[some, 0], places[some], "o", color=COLOURS["sdc_1"], markersize=5)
    axes.plot(shown[~some, 0], places[~some], "<", color=INK, markersize=4, markerfacecolor="w")
    axes.set_xscale("log")
    axes.set_xlim(_LEAST * 0.8, 130)
    axes.xaxis.set_major_locator(LogLocator(numticks=8))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.grid(True)
    axes.set_xlabel("SDC-1, %, with interval")
    axes.axhline(len(families) - 1.5, color=FAINT, linewidth=0.7)
