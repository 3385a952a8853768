"""Figures whose rows are site families: their height, labels and axes."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

#: Inches: a row, the room above and below the rows, and for the labels at their left.
ROW, HEAD, FOOT = 0.235, 0.3, 0.5
_LETTER = 0.071


def gutter(labels: Sequence[str], width: float) -> float:
    """Inches for the longest label, at most two fifths of the width."""
    return min(0.2 + _LETTER * max(map(len, labels), default=0), 0.42 * width)


def panel(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Axes at a place in inches."""
    wide, high = figure.get_size_inches()
    return figure.add_axes((left / wide, bottom / high, width / wide, height / high))


def label_rows(axes: Axes, labels: Sequence[str], bold: Sequence[str] = ()) -> None:
    """Rows from the top down; those in ``bold`` stand out."""
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.set_yticks(range(len(labels)), labels)
    axes.tick_params(axis="y", length=0)
    for tick, label in zip(axes.get_yticklabels(), labels, strict=True):
        if label in bold:
            tick.set_fontweight("bold")
