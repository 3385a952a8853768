"""The accuracy that is left under each fault."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fi.report.figures.rows import FOOT, HEAD, ROW, gutter, label_rows, panel
from fi.report.findings import Findings
from fi.report.palette import COLOURS, GOLDEN, INK
from fi.report.picture import Picture
from fi.statistics.result_table import FAULTY_ACCURACY

_SPREAD = 0.3  # of a row, up and down


def accuracy(found: Findings) -> Picture:
    """The distribution of the accuracy under fault, by family."""
    return Picture(
        "accuracy",
        "The accuracy that is left",
        "A dot is the network's accuracy under one fault, a black bar the mean of the family, the "
        "blue line the accuracy without a fault.",
        f"{found.stands_on}; the number behind each name is its faults",
        lambda width: _draw(found, width),
    )


def _draw(found: Findings, width: float) -> Figure:
    labels = [f"{name}  {found.count(name):,}" for name in found.families]
    left, rows = gutter(labels, width), 1.25 * ROW * len(labels)
    figure = Figure(figsize=(width, HEAD + rows + FOOT))
    axes = panel(figure, left, FOOT, width - left - 0.15, rows)
    label_rows(axes, labels)
    for place in range(1, len(labels)):
        axes.axhline(place - 0.5, color="#eef0f3", linewidth=0.8)
    axes.axvline(100 * found.golden, color=GOLDEN, linewidth=1.3, zorder=1)
    _dots(axes, found)
    means = [100 * found.rate(FAULTY_ACCURACY, name)[0] for name in found.families]
    places = np.arange(len(labels))
    axes.vlines(means, places - 0.36, places + 0.36, color=INK, linewidth=2.0, zorder=4)
    axes.set_xlabel("accuracy under the fault, %")
    axes.text(
        100 * found.golden, 1.01, f"golden {100 * found.golden:.2f} %", color=GOLDEN,
        ha="right" if found.golden > 0.5 else "left", va="bottom", fontsize=8.5,
        transform=axes.get_xaxis_transform(),
    )  # fmt: skip
    axes.xaxis.grid(True)
    return figure


def _dots(axes: Axes, found: Findings) -> None:
    """One dot a fault, moved up or down at random; rasterised, as there may be thousands."""
    faults = found.faults
    place = {name: number for number, name in enumerate(found.families)}
    shift = np.random.default_rng(0).uniform(-_SPREAD, _SPREAD, len(faults))
    values = 100 * faults["accuracy"].to_numpy()
    axes.plot(
        values, faults["Layer"].map(place).to_numpy() + shift, ".", alpha=0.5,
        markersize=8 if len(faults) < 1000 else 4,
        color=COLOURS["sdc_20"], markeredgewidth=0, rasterized=True, zorder=3,
    )  # fmt: skip
    low, high = min(values.min(), 100 * found.golden), max(values.max(), 100 * found.golden)
    room = max(0.5, 0.04 * (high - low))
    axes.set_xlim(max(-1.0, low - room), min(101.0, high + room))
