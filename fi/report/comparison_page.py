"""The comparison of two campaigns as one page that needs no other file."""

from __future__ import annotations

from fi.report.comparison import RATES, Comparison, Side, footer
from fi.report.figures.difference import difference
from fi.report.headline import accuracy_percent
from fi.report.page import environment


def comparison_page(found: Comparison) -> str:
    """The whole page as text."""
    return environment().get_template("compare.html").render(
        title=f"{found.first.name} and {found.second.name}",
        sides=[_described(side, mark) for side, mark in ((found.first, "A"), (found.second, "B"))],
        sentences=sentences(found),
        pictures=[difference(found)],
        rates=list(RATES.values()),
        rows=found.table.to_dict("records"),
        footer=footer(found),
    )  # fmt: skip


def sentences(found: Comparison) -> list[str]:
    """What differs, in words."""
    said = []
    for rate in RATES.values():
        rows = found.table[(found.table["rate"] == rate) & found.table["certain"]]
        for row in rows.to_dict("records"):
            where = "all faults together" if row["family"] == "all" else row["family"]
            word = "higher" if row["difference"] > 0 else "lower"
            said.append(
                f"{rate} of {where} is {word} in B by {100 * abs(row['difference']):.3g} points "
                f"(interval {100 * row['low']:+.3g} to {100 * row['high']:+.3g})."
            )
    return said or ["No difference is certain: every interval holds 0."]


def _described(side: Side, mark: str) -> dict[str, str]:
    faults = side.results["Injection"].nunique()
    return {
        "mark": mark,
        "name": side.name,
        "golden": accuracy_percent(side.golden),
        "faults": f"{faults:,} faults on {int(side.results['samples'].iloc[0]):,} samples",
    }
