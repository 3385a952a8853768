"""How many pairs were decided by proof, by simulation, by readout."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from fi.report.figures.rows import FOOT, gutter, label_rows, panel
from fi.report.findings import Findings
from fi.report.palette import COLOURS
from fi.report.picture import Picture
from fi.store.decisions import WAYS

_ROW = 0.3


def decided(found: Findings) -> Picture | None:
    """A bar for each way in which pairs were decided; ``None`` where nobody counted."""
    ways = {way: int(n) for way, n in found.entries.get("decided", {}).items() if way in WAYS and n}
    if not ways:
        return None
    pairs = sum(ways.values())
    everything = len(found.faults) * found.samples
    part = "" if pairs == everything else f" of {everything:,}; the others ran in a part of the "
    part += "" if pairs == everything else "campaign that was stopped, or in another process"
    return Picture(
        "decided",
        "How the pairs were decided",
        "Only the pairs at the bottom needed a look at the output; those at the top needed no "
        "simulation at all, because the fault changes no word or provably no spike.",
        f"{pairs:,} pairs of a fault and a sample{part}",
        lambda width: _draw(ways, width),
    )


def _draw(ways: dict[str, int], width: float) -> Figure:
    shown = [way for way in WAYS if way in ways]
    labels = [WAYS[way] for way in shown]
    left, rows = gutter(labels, width), _ROW * len(labels)
    figure = Figure(figsize=(width, rows + FOOT + 0.1))
    axes = panel(figure, left, FOOT, width - left - 0.15, rows)
    label_rows(axes, labels)
    total = sum(ways.values())
    parts = np.array([100 * ways[way] / total for way in shown])
    axes.barh(range(len(shown)), parts, 0.66, color=COLOURS["sdc_10_20"])
    for place, way in enumerate(shown):
        inside = parts[place] > 55
        axes.text(
            parts[place] + (-1 if inside else 1), place, f"{ways[way]:,} ({parts[place]:.3g} %)",
            va="center", ha="right" if inside else "left", fontsize=8.5,
            color="w" if inside else "k",
        )  # fmt: skip
    axes.set_xlim(0, 100)
    axes.set_xlabel("% of the pairs")
    axes.xaxis.grid(True)
    return figure
