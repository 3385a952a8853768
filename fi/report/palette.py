"""Colours and the style of every figure.

Severity is lightness: the colours darken from masked to SDC-1, so that they stay apart for every
kind of colour vision and on a grey printer.
"""

from __future__ import annotations

from typing import Any

from matplotlib.colors import Colormap, LinearSegmentedColormap

from fi.metrics.outcomes import OUTCOMES

#: Outcomes from harmless to severe, their colours and what the page calls them.
SEVERITY = ("fully_masked", "sdc_0_5", "sdc_5_10", "sdc_10_20", "sdc_20", "sdc_1")
COLOURS = dict(
    zip(SEVERITY, ("#eef1f4", "#f8cf78", "#f0a04b", "#d0603f", "#8f2d56", "#2b0f3a"), strict=True)
)
NAMES = dict(
    zip(
        OUTCOMES,
        ("fully masked", "SDC-1", "score off by 0-5 %", "5-10 %", "10-20 %", "20 % or more"),
        strict=True,
    )
)
#: What a memory's code reports: no severity, and no hue.
REPORTED = "#9aa3ad"
INK, FAINT, GRID, GOLDEN = "#1c2430", "#5b6675", "#dfe3e8", "#0b6e99"
#: Drawn without an SDC-1; the room between two tiles of a map.
NOTHING, GAP = "#e9ecf0", "#c9d1da"

#: matplotlib's own type of this lists every setting; Any spares that.
STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "text.color": INK,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "hatch.color": "#c3cad3",
    "hatch.linewidth": 0.6,
    "figure.dpi": 100,
    "savefig.dpi": 150,
    "svg.fonttype": "none",
}


def severity_map() -> Colormap:
    """The colours of the outcomes that are not masked, as a scale."""
    return LinearSegmentedColormap.from_list("severity", [COLOURS[name] for name in SEVERITY[1:]])
