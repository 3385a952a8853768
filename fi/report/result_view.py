"""What a campaign gave, for a notebook: the table, its figures, its page."""

from __future__ import annotations

import io
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from rich.console import Console

from fi.base.errors import UserError
from fi.report.tables import show_table, table_of
from fi.statistics.result_table import OUTCOME_ROWS, OVERALL
from fi.store.campaign_reader import PastCampaign

if TYPE_CHECKING:
    from fi.report.findings import Findings
    from fi.report.picture import Picture

#: Rows of the short table in a notebook.
_SHOWN = (*OUTCOME_ROWS.values(), "facc")


class ResultTable:
    """The results of a campaign on disk, finished or not.

    In a notebook it shows itself; ``plot()`` draws it, ``report()`` writes its page.

    Args:
        folder: of the campaign, ``output/<model>/<list name>-<hash>``.

    Raises:
        FileError: there is no campaign, or no fault of it is finished.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        campaign = PastCampaign(self.folder)
        self.faults: pd.DataFrame = campaign.results.load(whole=False)
        #: The result table: rates and the ends of their intervals are rows, families columns.
        self.rates: pd.DataFrame = table_of(campaign, self.faults)

    @cached_property
    def findings(self) -> Findings:
        """What figures and sentences are made from."""
        from fi.report.findings import Findings

        return Findings.of(PastCampaign(self.folder))

    @property
    def headline(self) -> list[str]:
        """What was found, in sentences."""
        from fi.report.headline import headline

        return headline(self.findings)

    @property
    def figures(self) -> dict[str, Picture]:
        """The figures that the campaign has faults for, by name."""
        from fi.report.page import pictures

        return {picture.name: picture for picture in pictures(self.findings)}

    def plot(self, name: str = "outcomes") -> Picture:
        """A figure of the report; a notebook shows it, ``save`` writes it as SVG.

        Raises:
            UserError: the campaign has no such figure; the message names those it has.
        """
        figures = self.figures
        if name not in figures:
            raise UserError(f"no figure {name!r}; this campaign has: {', '.join(figures)}")
        return figures[name]

    def report(self) -> Path:
        """Write ``report.html`` into the folder of the campaign; its path."""
        from fi.report.page import write_report

        return write_report(self.folder)

    def __repr__(self) -> str:
        text = io.StringIO()
        console = Console(file=text, width=80, color_system=None, force_jupyter=False)
        show_table(self.folder, self.rates, console)
        return text.getvalue().rstrip()

    def _repr_html_(self) -> str:
        """Rates by family in per cent, families as rows."""
        rates = 100 * self.rates.loc[list(_SHOWN)].T
        rates.insert(0, "faults", self.rates.T["# of faults"].astype(int))
        shown = rates.to_html(float_format=lambda value: f"{value:.3f}", na_rep="-", border=0)
        summary = PastCampaign(self.folder).summary()
        title = f"{summary.model}: {int(self.rates[OVERALL]['# of faults'])} faults x "
        return f"<p>{title}{summary.samples} samples, % of the samples</p>{shown}"
