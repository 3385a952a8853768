"""Sensitivity over time: at which step a transient fault does harm."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fi.report.figures.grid import Grid, draw_grid
from fi.report.findings import Findings
from fi.report.palette import COLOURS, INK
from fi.report.picture import Picture
from fi.statistics import wilson


def steps(found: Findings) -> Picture | None:
    """Heat map family x time step; ``None`` where every fault is permanent."""
    faults = found.faults[found.faults["step"] >= 0]
    if faults.empty:
        return None
    each = faults.groupby("step")["Injection"].nunique().median()
    return Picture(
        "steps",
        "When a transient fault does harm",
        "A cell is the SDC-1 rate of the faults at one time step (of several, the first) in one "
        f"site family; above, all families together with the {100 * found.confidence:g} % "
        "interval as a band.",
        f"{faults['Injection'].nunique():,} transient faults x {found.samples:,} samples, "
        f"{each:g} faults in the median step",
        lambda width: _draw(faults, found, width),
    )


def _draw(faults: pd.DataFrame, found: Findings, width: float) -> Figure:
    columns = list(range(max(int(found.entries["steps"]), int(faults["step"].max()) + 1)))
    families = [name for name in found.families if name in set(faults["Layer"])]
    grid = Grid.of(faults, families, "step", columns)
    figure, _, above = draw_grid(grid, width, "time step of the fault")
    _band(above, faults.drop_duplicates("Injection"), columns, found.confidence)
    return figure


def _band(axes: Axes, faults: pd.DataFrame, columns: list[int], confidence: float) -> None:
    groups = faults.groupby("step")["sdc_1_rate"]
    mean, size = groups.mean(), groups.size()
    ends = np.array([wilson(float(mean[s]), int(size[s]), None, confidence) for s in mean.index])
    axes.fill_between(mean.index, *(100 * ends.T), color=COLOURS["sdc_5_10"], alpha=0.35, lw=0)
    axes.plot(mean.index, 100 * mean, "-o", color=INK, markersize=2.5, linewidth=1.1)
    axes.set_ylim(0, min(100.0, max(float(100 * mean.max()) * 2.5, 0.1)))
    axes.set_xlim(-0.5, len(columns) - 0.5)
    axes.set_ylabel("SDC-1, %")
    axes.yaxis.grid(True)
