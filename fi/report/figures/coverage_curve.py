"""How much a chosen test set covers, by its size, beside random ones."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fi.report.palette import COLOURS, FAINT, GOLDEN
from fi.report.picture import Picture


def draw_coverage(curve: pd.DataFrame, whole: float, stands_on: str) -> Picture:
    """The figure.

    Args:
        curve: of ``fi.detection.set_choice.ChosenSet``.
        whole: coverage by all samples, from 0 to 1.
        stands_on: the numbers of faults and samples behind it.
    """
    return Picture(
        "coverage",
        "Faults that a few samples detect",
        "The line is the part of the critical faults, others than those that the samples were "
        "chosen on, that the first samples of the set detect, its band the interval; grey are "
        "random sets of as many samples, nine of ten of them within the band.",
        stands_on,
        lambda width: _draw(curve, whole, width),
    )


def _draw(curve: pd.DataFrame, whole: float, width: float) -> Figure:
    figure = Figure(figsize=(width, 3.2), layout="constrained")
    axes = figure.add_subplot()
    size = curve["samples"]
    axes.fill_between(
        size, 100 * curve["random low"], 100 * curve["random high"], color=FAINT, alpha=0.2, lw=0
    )
    axes.plot(size, 100 * curve["random"], color=FAINT, linewidth=1.2, label="random samples")
    colour = COLOURS["sdc_10_20"]
    axes.fill_between(size, 100 * curve["low"], 100 * curve["high"], color=colour, alpha=0.2, lw=0)
    axes.plot(size, 100 * curve["coverage"], "o-", color=colour, markersize=3.5, label="chosen")
    axes.axhline(100 * whole, color=GOLDEN, linewidth=1.1, label="the whole test set")
    axes.set_xlabel("samples")
    axes.set_ylabel("critical faults detected, %")
    axes.set_ylim(0, 102)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(visible=True, axis="y")
    figure.legend(loc="outside upper right", ncols=3, frameon=False)
    return figure
