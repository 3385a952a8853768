"""Which bits are vulnerable in which site family."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fi.report.figures.grid import Grid, draw_grid, placed
from fi.report.findings import Findings, highest_bit
from fi.report.palette import COLOURS, FAINT
from fi.report.picture import Picture


def bits(found: Findings) -> Picture | None:
    """Heat map family x bit; ``None`` where no fault model of the campaign has a bit."""
    cells = placed(found.sdc_by("family", "bit"), "bit", highest_bit, "highest")
    if cells.empty:
        return None
    several = cells["bit"].str.contains(r"[-+]").any()
    more = " A fault of several bits stands at its highest." if several else ""
    if found.results["Injection"].duplicated().any():
        more += " A trial counts in every cell that it has a fault in."
    if found.word_format != "float32":
        more += f" Words are {found.word_format}, those of states and spikes float32."
    return Picture(
        "bits",
        "Which bits are vulnerable",
        "A cell is the SDC-1 rate of the faults in one bit (0 is the least significant) of one "
        f"site family; the bars above are the part of all SDC-1 that each bit carries.{more}",
        f"{found.number_with('Bit'):,} faults x {found.samples:,} samples, "
        f"{_median(cells)} in the median cell",
        lambda width: _draw(cells, found, width),
    )


def share_of_sdc(found: Findings) -> pd.Series:
    """Part of all SDC-1 by (highest) bit, of all faults of the fault space; sums to 1, or 0."""
    rows = placed(found.sdc_by("bit"), "bit", highest_bit, "highest")
    sums = (rows["sdc_1"] * rows["speaks_for"]).groupby(rows["highest"]).sum()
    return sums / sums.sum() if sums.sum() else sums


def _median(cells: pd.DataFrame) -> str:
    number = cells.groupby(["family", "highest"])["faults"].sum().median()
    return f"{number:g} fault{'s' * int(number != 1)}"


def _draw(cells: pd.DataFrame, found: Findings, width: float) -> Figure:
    highest = int(cells["highest"].max())
    columns = list(range(highest, -1, -1))
    families = [name for name in found.shapes if name in set(cells["family"])]
    grid = Grid.of(cells, families, "highest", columns)
    figure, axes, above = draw_grid(grid, width, "bit")
    share = 100 * share_of_sdc(found).reindex(columns, fill_value=0.0).to_numpy()
    above.bar(np.arange(len(columns)), share, 0.8, color=COLOURS["sdc_1"])
    above.set_ylabel("% of all\nSDC-1")
    above.set_ylim(0, max(1.0, share.max() * 1.15))
    above.yaxis.grid(True)
    if highest == 31 and found.word_format == "float32":
        _fields(above, axes)
    return figure


def _fields(above: Axes, below: Axes) -> None:
    """The fields of a float32 word: sign, exponent, mantissa."""
    for place in (0.5, 8.5):
        for axes in (above, below):
            axes.axvline(place, color=FAINT, linewidth=0.9, linestyle=(0, (3, 2)), zorder=4)
    for place, name in ((0.0, "sign"), (4.5, "exponent"), (20.0, "mantissa")):
        above.text(
            place, 1.04, name, ha="center", fontsize=8, color=FAINT,
            transform=above.get_xaxis_transform(),
        )  # fmt: skip
