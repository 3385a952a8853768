"""The table of a campaign of rates: a row a rate, on the terminal and as CSV."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from rich import box
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from fi.base.text_files import FileError, csv_text, write_text
from fi.metrics.outcomes import DETECTED
from fi.report.error_rates.rate_findings import RateFindings
from fi.statistics.intervals import METHODS
from fi.statistics.rate_estimates import CellEstimates

#: Heading -> column of the results.
SHOWN = {"masked": "fully_masked", "SDC-1": "sdc_1", DETECTED: DETECTED, "facc": "correct"}
_MORE = {"SDC_0_5%": "sdc_0_5", "SDC_5_10%": "sdc_5_10", "SDC_10_20%": "sdc_10_20"}
_CSV = {
    **{"fully_masked": "fully_masked", "SDC_1": "sdc_1", **_MORE, "SDC_20": "sdc_20"},
    **{"facc": "correct", "non_finite": "non_finite", DETECTED: DETECTED},
}

_MakeCells = Callable[[CellEstimates], list[str]]


def write_rate_table(found: RateFindings) -> Path:
    """Write the table as CSV beside the list; its path.

    Raises:
        FileError: it cannot be written.
    """
    path = found.campaign.table_path
    try:
        write_text(path, rate_table_csv(found.cells))
    except OSError as problem:
        raise FileError(f"{path} cannot be written: {problem.strerror}") from problem
    return path


def rate_table_csv(cells: Sequence[CellEstimates]) -> str:
    """One row a rate and scope: trials, mean number of faults, every rate with its interval."""
    names = {name: column for name, column in _CSV.items() if column in cells[0].found}
    ends = [f"{name}{end}" for name in names for end in ("", " low", " high")]
    rows = []
    for cell in cells:
        values = [f"{value:.10g}" for column in names.values() for value in cell.found[column]]
        first = (cell.scope, repr(cell.rate), cell.trials, f"{cell.hits:.10g}")
        rows.append([*first, *values, f"{cell.golden:.10g}"])
    return csv_text([["scope", "rate", "trials", "faults", *ends, "acc"], *rows])


def show_rate_table(found: RateFindings, console: Console | None = None) -> None:
    """Print the table, and where accuracy falls below what was asked."""
    console = console or Console()
    console.print(view_rates(found))
    for scope in found.crossings:
        console.print(found.describe_crossing(scope), highlight=False, soft_wrap=True)
    console.print(f"Written to {found.campaign.table_path}", highlight=False, soft_wrap=True)


def view_rates(found: RateFindings) -> Group:
    """Rates, their intervals, and what the numbers mean."""
    status = found.entries.get("status")
    state = "" if status == "finished" else f" ({status})"
    name = f"{found.model}, {found.campaign.list_name}"
    title = f"{name}: {found.trials} trials x {found.samples} samples{state}"
    return Group(
        Text(title, style="bold"),
        _table(found, ("trials", "faults", *list_shown(found.cells)), _means),
        Text(f"\n{found.confidence * 100:g} % intervals", style="bold"),
        _table(found, tuple(list_shown(found.cells)), _ends),
        Text(f"\n{_footer(found)}", style="dim"),
    )


def list_shown(cells: Sequence[CellEstimates]) -> dict[str, str]:
    """Heading -> column of what is shown: pairs are ``detected`` in a memory with a code only."""
    return {name: column for name, column in SHOWN.items() if column in cells[0].found}


def _means(cell: CellEstimates) -> list[str]:
    rates = [_percent(cell.found[column].rate) for column in list_shown([cell]).values()]
    return [str(cell.trials), f"{cell.hits:,.1f}", *rates]


def _ends(cell: CellEstimates) -> list[str]:
    found = [cell.found[column] for column in list_shown([cell]).values()]
    return [f"{_percent(each.low)} to {_percent(each.high)}" for each in found]


def _table(found: RateFindings, headings: Sequence[str], make: _MakeCells) -> Table:
    grid = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False, pad_edge=False)
    layers = len(found.scopes) > 1
    if layers:
        grid.add_column("layer", overflow="fold")
    grid.add_column("rate", justify="right", no_wrap=True)
    for heading in headings:
        grid.add_column(heading, justify="right", no_wrap=True)
    for scope in found.scopes:
        for cell in found.of_scope(scope):
            row = [scope] if layers else []
            grid.add_row(*row, f"{cell.rate:g}", *make(cell))
        grid.add_section()
    return grid


def _percent(rate: float) -> str:
    return f"{rate * 100:.0f}" if rate in (0.0, 1.0) else f"{rate * 100:.3f}"


def _footer(found: RateFindings) -> str:
    method = METHODS[found.interval]
    title = method.title.replace("fault", "trial")
    detected = ""
    if DETECTED in list_shown(found.cells):
        detected = "detected: the code of the memory reports an error, and no answer is given. "
    return (
        "In % of the samples, mean over trials; in each trial every bit is hit with the "
        "probability in the column rate; faults: so many on average. masked: top class and score "
        f"unchanged. SDC-1: another class. {detected}facc: accuracy ({_percent(found.golden)} "
        f"without a fault). Intervals: {found.confidence * 100:g} %, {title}; "
        f"{method.basis}. They hold over trials, for this test set."
    )
