"""What differs between two campaigns, by site family."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fi.report.comparison import RATES, Comparison
from fi.report.figures.rows import FOOT, HEAD, ROW, gutter, label_rows, panel
from fi.report.palette import COLOURS, FAINT, INK
from fi.report.picture import Picture


def difference(found: Comparison) -> Picture:
    """The differences of every rate, second campaign minus first, with their intervals."""
    faults = found.table["faults_a"].max(), found.table["faults_b"].max()
    pairs = "the same faults in both" if found.paired else "other faults in each"
    return Picture(
        "difference",
        "What differs, B minus A",
        "A dot is the rate of B minus that of A, in points of a per cent, the line its interval: "
        "filled where the interval leaves out 0, so that A and B differ.",
        f"{faults[0]:,} faults in A, {faults[1]:,} in B, {pairs}; the numbers behind each name",
        lambda width: _draw(found, width),
    )


def _draw(found: Comparison, width: float) -> Figure:
    rows = found.table[found.table["rate"] == RATES["sdc_1"]]
    counts = zip(rows["family"], rows["faults_a"], rows["faults_b"], strict=True)
    labels = [f"{name}  {_count(one, other)}" for name, one, other in counts]
    left, high = gutter(labels, width), ROW * len(labels)
    figure = Figure(figsize=(width, HEAD + high + FOOT + 0.1))
    part = (width - left - 0.1) / len(RATES)
    for place, rate in enumerate(RATES.values()):
        axes = panel(figure, left + place * part, FOOT, part - 0.18, high)
        label_rows(axes, [""] * len(labels) if place else labels, labels[-1:])
        _dots(axes, found.table[found.table["rate"] == rate])
        axes.set_title(rate)
    return figure


def _count(one: int, other: int) -> str:
    return f"{one:,}" if one == other else f"{one:,} / {other:,}"


def _dots(axes: Axes, rows: pd.DataFrame) -> None:
    values = 100 * rows[["difference", "low", "high"]].to_numpy(dtype=np.float64)
    places, certain = np.arange(len(rows)), rows["certain"].to_numpy(dtype=bool)
    axes.axvline(0, color=FAINT, linewidth=0.9)
    axes.hlines(places, values[:, 1], values[:, 2], color=INK, linewidth=1.1)
    colour = COLOURS["sdc_10_20"]
    axes.plot(values[~certain, 0], places[~certain], "o", color=colour, mfc="w", markersize=4.5)
    axes.plot(values[certain, 0], places[certain], "o", color=colour, markersize=5.5)
    axes.axhline(len(rows) - 1.5, color=FAINT, linewidth=0.7)
    axes.set_xscale("symlog", linthresh=_linear(values))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.grid(True)
    axes.set_xlabel("points (%)")


def _linear(values: np.ndarray) -> float:
    """Below this the axis is linear, above it logarithmic: a wide interval hides no narrow one."""
    some = np.abs(values[np.isfinite(values) & (values != 0)])
    return float(np.median(some)) if len(some) else 1.0
