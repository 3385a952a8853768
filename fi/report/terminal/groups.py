"""``--by`` and ``--top`` of ``fi.analyse``: rates by any grouping, and the critical faults."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table

from fi.base.errors import UserError
from fi.base.text_files import FileError, write_text
from fi.report.critical_faults import critical, site_text, value_texts
from fi.statistics.group_estimates import GROUPINGS, estimate_groups
from fi.statistics.intervals import METHODS
from fi.store.campaign_reader import PastCampaign

#: What the terminal shows; the CSV has every rate.
_SHOWN = ("masked", "SDC-1", "facc")
_NO_HARM = "No fault that was run changes a prediction."


def parse_groupings(text: str) -> tuple[str, ...]:
    """The groupings in ``family,bit``; ``UserError`` names the known ones."""
    names = tuple(word.strip() for word in text.split(",") if word.strip())
    if len(set(names)) < len(names) or not set(names) <= set(GROUPINGS):
        raise UserError(f"--by {text}: allowed are {', '.join(GROUPINGS)}, each once")
    return names


def show_rates(
    campaign: PastCampaign, by: Sequence[str], confidence: float, method: str, console: Console
) -> None:
    """Print the rates by ``by`` and write all of them to ``<list>_by_<groups>.csv``.

    Raises:
        FileError: results or summary cannot be used, or the file cannot be written.
        ValueError: an unknown grouping.
    """
    results, summary = campaign.results.load(whole=False), campaign.summary()
    if results.empty:
        raise FileError(f"{campaign.results.path}: no fault is finished, there is nothing to show")
    table = estimate_groups(results, summary.design, by, confidence, method=method)
    where = f"{summary.model}, {campaign.list_name}"
    console.print(f"\n{where}: by {', '.join(by)}", style="bold", highlight=False)
    console.print(_rates_view(table, by))
    console.print(
        f"In % of the samples, with {confidence * 100:g} % intervals, {METHODS[method].title}, "
        f"{METHODS[method].basis}; they hold over faults, for this test set. Groups of which no "
        "fault was run are in the file only.",
        style="dim",
        highlight=False,
    )
    _write(campaign, f"by_{'-'.join(by)}", table, console)


def show_critical(campaign: PastCampaign, most: int, console: Console) -> None:
    """Print the most critical faults and write them to ``<list>_top.csv``; errors as above."""
    table = critical(campaign.results.load(whole=False), most)
    found = table["Injection"].nunique()
    title = f"the {found} most critical faults" if found > 1 else "the most critical fault"
    console.print(f"\n{campaign.list_name}: {title}", style="bold", highlight=False)
    console.print(_critical_view(table) if found else _NO_HARM, highlight=False)
    _write(campaign, "top", table, console)


def _rates_view(table: pd.DataFrame, by: Sequence[str]) -> Table:
    grid = _grid()
    for name in by:
        grid.add_column(name, overflow="fold")
    for heading in ("faults", *_SHOWN):
        grid.add_column(heading, justify="right", no_wrap=True)
    for _, row in table[table["faults"] > 0].iterrows():
        cells = [
            _interval(row, "fully_masked"),
            _interval(row, "sdc_1"),
            f"{row['correct'] * 100:.2f}",
        ]
        grid.add_row(*(row[name] or "-" for name in by), str(row["faults"]), *cells)
    return grid


def _interval(row: pd.Series, rate: str) -> str:
    value, low, high = (row[name] * 100 for name in (rate, f"{rate} low", f"{rate} high"))
    return f"{value:.2f} ({low:.2f}-{high:.2f})"


def _critical_view(table: pd.DataFrame) -> Table:
    golden, faulty = value_texts(table)
    shown = {
        "site": [site_text(row) for _, row in table.iterrows()],
        "model": [str(name) for name in table["Model"]],
        "bit": [str(bit) for bit in table["Bit"]],
        "step": ["" if pd.isna(step) else str(step) for step in table["Step"]],
        "golden": golden,
        "faulty": faulty,
        "SDC-1": [_percent(rate) for rate in table["sdc_1_rate"]],
        "facc": [_percent(rate) for rate in table["accuracy"]],
    }
    columns = {heading: cells for heading, cells in shown.items() if any(cells)}
    grid = _grid()
    for heading in columns:
        right = heading in ("SDC-1", "facc")
        grid.add_column(heading, justify="right" if right else "left", overflow="fold")
    for cells in zip(*columns.values(), strict=True):
        grid.add_row(*cells)
    return grid


def _grid() -> Table:
    return Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False, pad_edge=False)


def _percent(rate: float) -> str:
    return f"{rate * 100:.2f}"


def _write(campaign: PastCampaign, name: str, table: pd.DataFrame, console: Console) -> None:
    path = campaign.table_path.with_name(f"{campaign.list_name}_{name}.csv")
    try:
        write_text(path, table.to_csv(index=False, lineterminator="\n"))
    except OSError as problem:
        raise FileError(f"{path} cannot be written: {problem.strerror}") from problem
    console.print(f"Written to {path}", highlight=False, soft_wrap=True)
