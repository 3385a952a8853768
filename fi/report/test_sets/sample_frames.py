"""What samples look like: their events summed over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from fi.report.palette import COLOURS, FAINT, GOLDEN
from fi.report.picture import Picture

Array = NDArray[Any]
_INCHES = 1.45
#: The colours of the two kinds of events of a camera: brighter, darker.
_BRIGHTER, _DARKER = GOLDEN, COLOURS["sdc_10_20"]


@dataclass(frozen=True)
class SampleFrame:
    """One sample.

    Attributes:
        place: in the test set.
        label: its class.
        detected: how many of the faults that it was chosen on it detects first.
        frame: its events summed over time, ``[height, width]`` or ``[polarity, height, width]``;
            of events that are no images all of them, ``[lines, time]``.
    """

    place: int
    label: int
    detected: int
    frame: Array


def sum_events(events: Array) -> Array:
    """The frame of events ``[time, ...]`` of one sample.

    >>> sum_events(np.ones((5, 2, 4, 3))).shape
    (2, 4, 3)
    >>> sum_events(np.ones((5, 12))).shape
    (12, 5)
    """
    if events.ndim in (3, 4):
        axes = (0, 1) if events.ndim == 4 and events.shape[1] != 2 else 0
        frame: Array = events.sum(axes)
        return frame
    return events.reshape(len(events), -1).T


def draw_samples(frames: Sequence[SampleFrame], stands_on: str) -> Picture:
    """The figure.

    Args:
        frames: in the order in which they were chosen.
        stands_on: the numbers of faults and samples behind it.
    """
    polarities = any(sample.frame.ndim == 3 for sample in frames)
    lines = all(sample.frame.ndim == 2 for sample in frames) and _are_lines(frames)
    what = "events of each line (down) over time (right)" if lines else "events summed over time"
    reading = f"The chosen samples in their order: {what}"
    if polarities:
        reading += ", blue where it became brighter, orange where darker, dark where both"
    return Picture(
        "samples",
        "The chosen samples",
        f"{reading}. Above each its place in the test set and its class; below how many of the "
        "critical faults, of those that it was chosen on, it detects and none before it.",
        stands_on,
        lambda width: _draw(frames, width),
    )


def _are_lines(frames: Sequence[SampleFrame]) -> bool:
    return all(min(sample.frame.shape) * 3 < max(sample.frame.shape) for sample in frames)


def _draw(frames: Sequence[SampleFrame], width: float) -> Figure:
    columns = max(1, min(len(frames), int(width // _INCHES)))
    rows = -(-len(frames) // columns)
    figure = Figure(figsize=(width, 1.95 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, sample in zip(grid.flat, frames, strict=False):
        axes.set_axis_on()
        axes.set_xticks([])
        axes.set_yticks([])
        axes.imshow(_paint(sample.frame), interpolation="nearest")
        axes.set_title(f"{sample.place}, class {sample.label}", fontsize=8, loc="center")
        axes.set_xlabel(f"+{sample.detected:,}", fontsize=8, labelpad=2)
        for side in axes.spines.values():
            side.set_visible(True)
            side.set_color(FAINT)
    return figure


def _paint(frame: Array) -> Array:
    """An image ``[height, width, 3]`` on white: the more events, the more of their colour."""
    colours = [_DARKER, _BRIGHTER] if frame.ndim == 3 else [_BRIGHTER]
    frame = frame.reshape(len(colours), *frame.shape[-2:])
    most = max(float(np.quantile(frame, 0.995)), float(frame.max()) / 4, 1e-9)
    image = np.ones((*frame.shape[1:], 3))
    for events, colour in zip(frame, colours, strict=True):
        ink = 1 - np.array([int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)])
        image -= np.clip(events / most, 0, 1)[..., None] * ink
    return np.clip(image, 0, 1)
