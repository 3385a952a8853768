"""Risk that is left over the cost of protection."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from fi.report.palette import COLOURS
from fi.report.picture import Picture


def draw_residual(curve: pd.DataFrame, measure: str, stands_on: str) -> Picture:
    """The figure.

    Args:
        curve: ``cost, residual, low, high``, parts of 1.
        measure: what the risk is, ``SDC-1``.
        stands_on: the numbers of faults and samples behind it.
    """
    return Picture(
        "residual",
        "What protection leaves",
        f"The line is the {measure} that is left, over all faults, when the units of the plan are "
        "protected one after another, its band the interval; both from faults that the choice did "
        "not see. 100 % cost is triplication of every word of the fault space.",
        stands_on,
        lambda width: _draw(curve, measure, width),
    )


def _draw(curve: pd.DataFrame, measure: str, width: float) -> Figure:
    figure = Figure(figsize=(width, 3.2), layout="constrained")
    axes, colour = figure.add_subplot(), COLOURS["sdc_10_20"]
    cost = 100 * curve["cost"]
    axes.fill_between(
        cost, 100 * curve["low"], 100 * curve["high"], color=colour, alpha=0.2, lw=0, step="post"
    )
    axes.step(cost, 100 * curve["residual"], "o-", where="post", color=colour, markersize=3)
    axes.set_xlabel("cost, % of full triplication")
    axes.set_ylabel(f"{measure} left, %")
    lowest = 100 * curve["low"].clip(lower=0)
    if (lowest > 0).all():
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    axes.grid(visible=True, axis="y")
    return figure
