"""Accuracy over the rate at which bits are hit."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fi.report.error_rates.rate_findings import RateFindings
from fi.report.palette import COLOURS, FAINT, GOLDEN, INK
from fi.report.picture import Picture

_HEIGHT = 3.1
#: Of the network, then of layers alone: lightness and style tell them apart as well.
_LINES = (INK, COLOURS["sdc_20"], COLOURS["sdc_10_20"], COLOURS["sdc_5_10"], FAINT)
_STYLES = ("-", "--", "-.", ":")


def draw_rates(found: RateFindings) -> Picture:
    """Accuracy over the rate, a line for the network and one for each layer alone."""
    least = min(cell.trials for cell in found.cells)
    most = max(cell.trials for cell in found.cells)
    trials = f"{least:,}" if least == most else f"{least:,} to {most:,}"
    return Picture(
        "accuracy_over_rate",
        "Accuracy over the rate",
        "The mean accuracy of the trials in which every bit was hit with the probability below, in "
        f"a band that is its {found.confidence * 100:g} % interval; the blue line is the accuracy "
        "without a fault.",
        f"{trials} trials a rate, {found.samples:,} samples each",
        lambda width: _draw(found, width),
    )


def _draw(found: RateFindings, width: float) -> Figure:
    figure = Figure(figsize=(width, _HEIGHT), layout="constrained")
    axes = figure.add_subplot()
    for number, scope in enumerate(found.scopes):
        _draw_scope(axes, found, scope, number)
    axes.axhline(100 * found.golden, color=GOLDEN, linewidth=1.3, zorder=1)
    axes.text(
        0.99, 100 * found.golden, f"golden {100 * found.golden:.2f} %", color=GOLDEN, ha="right",
        va="bottom", fontsize=8.5, transform=axes.get_yaxis_transform(),
    )  # fmt: skip
    _mark_crossing(axes, found)
    axes.set_xscale("log")
    axes.set_ylim(0, min(104.0, 100 * found.golden + 8))
    axes.set_xlabel("probability that a bit is hit")
    axes.set_ylabel("accuracy, %")
    axes.grid(True)
    if len(found.scopes) > 1:
        axes.legend(loc="lower left", ncols=2)
    return figure


def _draw_scope(axes: Axes, found: RateFindings, scope: str, number: int) -> None:
    cells = found.of_scope(scope)
    rates = [cell.rate for cell in cells]
    means, low, high = zip(*([100 * end for end in cell.accuracy] for cell in cells), strict=True)
    colour, style = _LINES[number % len(_LINES)], _STYLES[number % len(_STYLES)]
    axes.fill_between(rates, low, high, color=colour, alpha=0.14, linewidth=0, zorder=2)
    axes.plot(
        rates, means, style, color=colour, marker="o", markersize=4, linewidth=1.6, label=scope,
        zorder=4 if not number else 3,
    )  # fmt: skip


def _mark_crossing(axes: Axes, found: RateFindings) -> None:
    """The accuracy that was asked for, and the rate at which the network falls below it."""
    if found.until is None:
        return
    axes.axhline(100 * found.until, color=FAINT, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
    crossing = found.crossings[found.scopes[0]]
    if crossing.rate is not None:
        axes.plot([crossing.rate], [100 * found.until], "D", color=GOLDEN, markersize=5, zorder=5)
