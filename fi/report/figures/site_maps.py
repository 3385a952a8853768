"""Vulnerable sites on the map of their layer: neurons as images, weights as a matrix."""

from __future__ import annotations

from math import ceil, sqrt

import numpy as np
from matplotlib.colors import LogNorm, to_rgba
from matplotlib.figure import Figure
from numpy.typing import NDArray

from fi.faults.csv_row import parse_index
from fi.report.figures.rows import panel
from fi.report.findings import Findings
from fi.report.palette import FAINT, GAP, NOTHING, severity_map
from fi.report.picture import Picture

#: Pixels along a side of a map; a larger tensor shows the worst word of a block.
LARGEST = 480
_WIDTH, _LOWEST, _HIGHEST, _ROW = 3.75, 0.24, 2.4, 0.06  # inches
_GAP = np.inf  # between channels or kernels
Map = NDArray[np.float64]


def sites(found: Findings) -> list[Picture]:
    """A map of every site family in which a fault was drawn and an answer changed."""
    worst = found.hits.groupby("Layer")["sdc_1_rate"].max()
    shown = [name for name in found.shapes if worst.get(name, 0) > 0]
    if not shown:
        return []
    norm = LogNorm(lowest(found), 100)
    return [_picture(found, name, norm) for name in shown]


def lowest(found: Findings) -> float:
    """Per cent: the light end of the scale, half a sample."""
    return min(50.0, 50 / found.samples)


def _picture(found: Findings, name: str, norm: LogNorm) -> Picture:
    shape, faults = found.shapes[name], found.hits[found.hits["Layer"] == name]
    hit = faults["TensorIndex"].nunique()
    words = int(np.prod(shape, dtype=np.int64))
    block = _block(laid_out_shape(shape))
    more = f"; a pixel is the worst of {block} x {block} words" if block > 1 else ""
    size = " x ".join(map(str, shape)) or "one word"
    return Picture(
        f"sites-{name}",
        f"{name}, {size}",
        "Every pixel is a word; its colour is the worst SDC-1 of the faults drawn there.",
        f"{len(faults):,} faults in {hit:,} of {words:,} words{more}",
        lambda width: _draw(words_of(found, name), norm, min(width, _WIDTH)),
    )


def words_of(found: Findings, name: str) -> Map:
    """The worst SDC-1 of each word of a family, %, in the shape of the tensor; NaN: not hit."""
    faults = found.hits[found.hits["Layer"] == name]
    values = np.full(found.shapes[name], np.nan)
    for index, worst in faults.groupby("TensorIndex")["sdc_1_rate"].max().items():
        values[parse_index(str(index))] = 100 * worst
    return values


def laid_out(values: Map) -> Map:
    """A tensor of any shape as an image ``[rows, columns]``, rather wide than high.

    ``(neurons,)`` is a row, ``(channels, height, width)`` tiles side by side,
    ``(out, in, ...)`` a matrix whose entries may be kernels.
    """
    if values.ndim < 2:
        return values.reshape(1, -1)
    if values.ndim == 3:
        return _tiles(values)
    image = _kernels(values) if values.ndim > 3 else values
    return image.T if image.shape[0] > image.shape[1] else image


def laid_out_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    """The shape of ``laid_out`` of a tensor of ``shape``."""
    rows, columns = laid_out(np.empty(shape)).shape
    return rows, columns


def _tiles(values: Map) -> Map:
    """Channels side by side, a gap between them."""
    channels, height, width = values.shape
    across = min(channels, ceil(sqrt(2 * channels * (height + 1) / (width + 1))))
    down = -(-channels // across)
    image = np.full((down * (height + 1) - 1, across * (width + 1) - 1), _GAP)
    for channel, tile in enumerate(values):
        row, column = divmod(channel, across)
        top, left = row * (height + 1), column * (width + 1)
        image[top : top + height, left : left + width] = tile
    return image


def _kernels(values: Map) -> Map:
    """``[out, in, ...]`` as a matrix of kernels, a gap between them."""
    values = values.reshape(*values.shape[:2], -1, values.shape[-1])
    padded = np.pad(values, ((0, 0), (0, 0), (0, 1), (0, 1)), constant_values=_GAP)
    rows, columns = padded.shape[0] * padded.shape[2], padded.shape[1] * padded.shape[3]
    return padded.transpose(0, 2, 1, 3).reshape(rows, columns)[:-1, :-1]


def _block(shape: tuple[int, int]) -> int:
    return ceil(max(shape) / LARGEST)


def pooled(image: Map) -> Map:
    """The largest value of each block, so that no side is above ``LARGEST``."""
    block = _block((image.shape[0], image.shape[1]))
    if block == 1:
        return image
    rows, columns = (-side % block for side in image.shape)
    padded = np.pad(image, ((0, rows), (0, columns)), constant_values=np.nan)
    high, wide = (side // block for side in padded.shape)
    blocks = padded.reshape(high, block, wide, block)
    largest = np.where(np.isfinite(blocks), blocks, -1.0).max(axis=(1, 3))
    return np.where(largest < 0, np.nan, largest)


def _draw(values: Map, norm: LogNorm, width: float) -> Figure:
    image = pooled(laid_out(values))
    rows, columns = image.shape
    room = width - 0.1
    height = min(_HIGHEST, max(_LOWEST, _ROW * rows, room * rows / columns))
    figure = Figure(figsize=(width, height + 0.1))
    axes = panel(figure, 0.05, 0.05, room, height)
    colours = severity_map()(norm(np.where((image > 0) & np.isfinite(image), image, np.nan)))
    colours[image == 0] = to_rgba(NOTHING)
    colours[np.isnan(image)] = 0
    colours[np.isinf(image)] = to_rgba(GAP)
    axes.imshow(colours, aspect="auto", interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set(visible=True, color=FAINT, linewidth=0.5)
    return figure
