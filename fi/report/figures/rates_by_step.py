"""Sensitivity over time: at which step a transient fault does harm."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fi.report.figures.grid import Grid, draw_grid, placed
from fi.report.findings import Findings, first_step
from fi.report.palette import COLOURS, INK
from fi.report.picture import Picture


def steps(found: Findings) -> Picture | None:
    """Heat map family x time step; ``None`` where every fault is permanent."""
    cells, whole = (
        placed(found.sdc_by(*keys), "step", first_step, "first")
        for keys in (("family", "step"), ("step",))
    )
    if whole.empty:
        return None
    each = whole.groupby("first")["faults"].sum().median()
    return Picture(
        "steps",
        "When a transient fault does harm",
        "A cell is the SDC-1 rate of the faults at one time step (of several, the first) in one "
        f"site family; above, all families together with the {100 * found.confidence:g} % "
        "interval as a band.",
        f"{found.number_with('Step'):,} transient faults x {found.samples:,} samples, "
        f"{each:g} faults in the median step",
        lambda width: _draw(cells, whole, found, width),
    )


def _draw(cells: pd.DataFrame, whole: pd.DataFrame, found: Findings, width: float) -> Figure:
    columns = list(range(max(int(found.entries["steps"]), int(cells["first"].max()) + 1)))
    families = [name for name in found.shapes if name in set(cells["family"])]
    grid = Grid.of(cells, families, "first", columns)
    figure, _, above = draw_grid(grid, width, "time step of the fault")
    _band(above, whole, columns)
    return figure


def _band(axes: Axes, rows: pd.DataFrame, columns: list[int]) -> None:
    """SDC-1 with its interval; of windows that begin at the same step, those with most faults."""
    rows = rows.sort_values("faults", ascending=False).drop_duplicates("first").sort_values("first")
    steps, mean, low, high = rows[["first", "sdc_1", "sdc_1 low", "sdc_1 high"]].to_numpy(float).T
    axes.fill_between(steps, 100 * low, 100 * high, color=COLOURS["sdc_5_10"], alpha=0.35, lw=0)
    axes.plot(steps, 100 * mean, "-o", color=INK, markersize=2.5, linewidth=1.1)
    axes.set_ylim(0, min(100.0, max(float(100 * mean.max()) * 2.5, 0.1)))
    axes.set_xlim(-0.5, len(columns) - 0.5)
    axes.set_ylabel("SDC-1, %")
    axes.yaxis.grid(True)
