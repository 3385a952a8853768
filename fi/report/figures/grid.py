"""A heat map of SDC-1: site families down, bits or time steps across, and their sum above."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from fi.report.figures.rows import HEAD, ROW, gutter, label_rows, panel
from fi.report.palette import FAINT, NOTHING, severity_map

_TOP, _GAP, _BAR, _TICK = 0.85, 0.16, 0.13, 0.19  # inches


@dataclass(frozen=True)
class Grid:
    """Rates by family and column.

    Attributes:
        families: the rows.
        columns: names of the columns, from left to right.
        rates: mean SDC-1 in per cent ``[families, columns]``; NaN where no fault was drawn.
    """

    families: Sequence[str]
    columns: Sequence[str]
    rates: NDArray[np.float64]

    @classmethod
    def of(
        cls, rows: pd.DataFrame, families: Sequence[str], by: str, columns: Sequence[int]
    ) -> Grid:
        """SDC-1 of ``Findings.sdc_by`` by family and ``by``, where rows may share a place.

        They are weighed by the faults that they stand for.
        """
        weighed = rows.assign(sdc_1=rows["sdc_1"] * rows["speaks_for"])
        sums = weighed.groupby(["family", by])[["sdc_1", "speaks_for"]].sum()
        means = (sums["sdc_1"] / sums["speaks_for"]).unstack()
        rates = 100 * means.reindex(index=list(families), columns=list(columns))
        return cls(families, [str(c) for c in columns], rates.to_numpy(dtype=np.float64))


def placed(rows: pd.DataFrame, by: str, place: Callable[[str], int], name: str) -> pd.DataFrame:
    """Rows with the column ``name``, the place of ``by``; those without one (-1) are left out."""
    rows = rows.assign(**{name: rows[by].map(place).astype(np.int64)})
    return rows[rows[name] >= 0]


def draw_grid(grid: Grid, width: float, below: str, note: str = "") -> tuple[Figure, Axes, Axes]:
    """The heat map, with empty axes above it that share its columns.

    Args:
        grid: what to show.
        width: inches.
        below: what the columns are.
        note: at the right of ``below``.

    Returns:
        Figure, axes of the map, axes above.
    """
    left, rows = gutter(grid.families, width), ROW * len(grid.families)
    foot = 1.0
    figure = Figure(figsize=(width, HEAD + _TOP + _GAP + rows + foot))
    room = width - left - 0.15
    axes = panel(figure, left, foot, room, rows)
    above = panel(figure, left, foot + rows + _GAP, room, _TOP)
    label_rows(axes, grid.families)
    norm = _norm(grid.rates)
    _cells(axes, grid, norm)
    above.set_xlim(axes.get_xlim())
    above.set_xticks([])
    axes.set_xlabel(below)
    scale = panel(figure, left, 0.26, room * 0.55, _BAR)
    _scale(figure, scale, norm, note)
    return figure, axes, above


def _norm(rates: NDArray[np.float64]) -> LogNorm:
    """Logarithmic from the smallest rate that is not 0 to the largest, a decade at least."""
    some = rates[np.isfinite(rates) & (rates > 0)]
    if not len(some):
        return LogNorm(0.1, 100)
    high = float(some.max())
    return LogNorm(
        max(float(some.min()), high / 1e4) if some.min() < high / 10 else high / 10, high
    )


def _cells(axes: Axes, grid: Grid, norm: LogNorm) -> None:
    """Cells in colour; nothing drawn there is hatched, drawn without an SDC-1 almost white."""
    colours = severity_map()
    number = len(grid.columns)
    axes.add_patch(
        Rectangle(
            (-0.5, -0.5), number, len(grid.families), facecolor="w", hatch="////", linewidth=0,
            edgecolor=matplotlib.rcParams["hatch.color"],
        )
    )  # fmt: skip
    image = colours(norm(np.where(grid.rates > 0, grid.rates, np.nan)))
    image[grid.rates == 0] = matplotlib.colors.to_rgba(NOTHING)
    image[np.isnan(grid.rates)] = 0
    axes.imshow(image, aspect="auto", interpolation="nearest", zorder=2)
    every = max(1, -(-number // int(_inches(axes) / _TICK)))
    shown = [place for place in range(number) if (number - 1 - place) % every == 0]
    axes.set_xticks(shown, [grid.columns[place] for place in shown])
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)


def _inches(axes: Axes) -> float:
    """The width of axes."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    return float(axes.get_position().width * figure.get_size_inches()[0])


def _scale(figure: Figure, axes: Axes, norm: LogNorm, note: str) -> None:
    bar = figure.colorbar(
        matplotlib.cm.ScalarMappable(norm, severity_map()), cax=axes, orientation="horizontal"
    )
    bar.outline.set_visible(False)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
    axes.xaxis.set_minor_formatter(FuncFormatter(lambda *_: ""))
    axes.set_title("SDC-1, %", fontsize=8.5, pad=3)
    handles = [
        Patch(facecolor=NOTHING, edgecolor=FAINT, linewidth=0.4, label="none seen"),
        Patch(facecolor="w", hatch="/////", edgecolor="#c3cad3", linewidth=0.4, label="not drawn"),
    ]
    axes.legend(
        handles=handles, loc="center left", bbox_to_anchor=(1.06, 0.5), ncols=1,
        handlelength=1.2, title=note or None, borderaxespad=0.0,
    )  # fmt: skip
