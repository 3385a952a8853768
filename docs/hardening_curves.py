"""Draws ``hardening.svg`` from the tables of campaigns of rates: accuracy over the rate, each.

    python docs/hardening_curves.py plain=TABLE.csv clamped=TABLE.csv ... --save docs/hardening.svg

A table is ``output/fault_list/<model>/<list>_rates_result.csv`` of ``fi.test --faults.rate``.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the code beside this page

from fi.report.palette import COLOURS, FAINT, GOLDEN, INK
from fi.report.picture import Picture

_LINES = ((INK, "-"), (COLOURS["sdc_10_20"], "--"), (FAINT, "-."), (GOLDEN, "-"))


def main() -> None:
    """Read the tables and write the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tables", nargs="+", metavar="NAME=TABLE")
    parser.add_argument("--save", type=Path, default=Path("hardening.svg"))
    options = parser.parse_args()
    given = (table.partition("=") for table in options.tables)
    tables = {name: pd.read_csv(path) for name, _, path in given}
    picture = Picture(
        "hardening",
        "Accuracy over the bit-error rate",
        "The mean accuracy of the trials, in a band that is its 99 % interval.",
        "",
        lambda width: draw(tables, width),
    )
    picture.save(options.save)
    print(f"{options.save} is written")


def draw(tables: dict[str, pd.DataFrame], width: float) -> Figure:
    """A line for each network."""
    figure = Figure(figsize=(width, 3.4), layout="constrained")
    axes = figure.add_subplot()
    for (name, table), (colour, style) in zip(tables.items(), _LINES, strict=False):
        table = table[table["scope"] == "network"]
        low, high = 100 * table["facc low"], 100 * table["facc high"]
        axes.fill_between(table["rate"], low, high, color=colour, alpha=0.12, linewidth=0)
        axes.plot(
            table["rate"], 100 * table["facc"], style, color=colour, marker="o", markersize=3.5,
            label=name,
        )  # fmt: skip
    axes.set_xscale("log")
    axes.set_ylim(0, 100)
    axes.set_xlabel("probability that a bit is hit")
    axes.set_ylabel("accuracy, %")
    axes.grid(True)
    axes.legend(loc="lower left")
    return figure


if __name__ == "__main__":
    main()
