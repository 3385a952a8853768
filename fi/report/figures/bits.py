"""Which bits are vulnerable in which site family."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fi.report.figures.grid import Grid, draw_grid
from fi.report.figures.rows import is_wide
from fi.report.findings import Findings
from fi.report.palette import COLOURS, FAINT
from fi.report.picture import Picture


def bits(found: Findings) -> Picture | None:
    """Heat map family x bit; ``None`` where no fault model of the campaign has a bit."""
    faults = found.faults[found.faults["bit"] >= 0]
    if faults.empty:
        return None
    several = faults["Bit"].astype(str).str.contains(r"[-+]").any()
    more = " A fault of several bits stands at its highest." if several else ""
    if found.word_format != "float32":
        more += f" Words are {found.word_format}, those of states and spikes float32."
    return Picture(
        "bits",
        "Which bits are vulnerable",
        "A cell is the SDC-1 rate of the faults in one bit (0 is the least significant) of one "
        f"site family; the bars above are the part of all SDC-1 that each bit carries.{more}",
        f"{faults['Injection'].nunique():,} faults x {found.samples:,} samples, "
        f"{_median(faults)} in the median cell",
        lambda width: _draw(faults, found, width),
    )


def share_of_sdc(found: Findings) -> pd.Series:
    """Part of all SDC-1 by bit, ``found.weights`` taken into account; sums to 1, or 0."""
    faults = found.faults[found.faults["bit"] >= 0]
    sums = (faults["sdc_1_rate"] * found.weights(faults)).groupby(faults["bit"]).sum()
    return sums / sums.sum() if sums.sum() else sums


def _median(faults: pd.DataFrame) -> str:
    number = faults.groupby(["Layer", "bit"]).size().median()
    return f"{number:g} fault{'s' * int(number != 1)}"


def _draw(faults: pd.DataFrame, found: Findings, width: float) -> Figure:
    highest = int(faults["bit"].max())
    columns = list(range(highest, -1, -1))
    families = [name for name in found.families if name in set(faults["Layer"])]
    grid = Grid.of(faults, families, "bit", columns)
    figure, axes, above = draw_grid(grid, width, "bit")
    share = 100 * share_of_sdc(found).reindex(columns, fill_value=0.0).to_numpy()
    above.bar(np.arange(len(columns)), share, 0.8, color=COLOURS["sdc_1"])
    above.set_ylabel("% of all\nSDC-1")
    above.set_ylim(0, max(1.0, share.max() * 1.15))
    above.yaxis.grid(True)
    if highest == 31 and found.word_format == "float32":
        _fields(above, axes, is_wide(width))
    return figure


def _fields(above: Axes, below: Axes, wide: bool) -> None:
    """The fields of a float32 word: sign, exponent, mantissa."""
    for place in (0.5, 8.5):
        for axes in (above, below):
            axes.axvline(place, color=FAINT, linewidth=0.9, linestyle=(0, (3, 2)), zorder=4)
    names = ("sign", "exponent", "mantissa") if wide else ("", "exponent", "mantissa")
    for place, name in zip((0.0, 4.5, 20.0), names, strict=True):
        above.text(
            place, 1.04, name, ha="center", fontsize=8, color=FAINT,
            transform=above.get_xaxis_transform(),
        )  # fmt: skip
