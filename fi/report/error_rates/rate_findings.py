"""What a campaign of rates found, as its table, figure and page need it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fi.base.text_files import FileError
from fi.statistics.rate_estimates import CellEstimates, Crossing, estimate_rates, find_crossing
from fi.store.campaign_reader import PastCampaign


@dataclass(frozen=True)
class RateFindings:
    """A campaign of rates on disk.

    Attributes:
        campaign: where it is.
        entries: its ``summary.json``.
        cells: what the finished trials of each rate show, scope by scope, rates ascending.
        confidence, interval: of the intervals.
        until: accuracy of which it is said where it is fallen below; ``None``: not asked.
    """

    campaign: PastCampaign
    entries: Mapping[str, Any]
    cells: list[CellEstimates]
    confidence: float
    interval: str
    until: float | None

    @classmethod
    def of(
        cls,
        campaign: PastCampaign,
        confidence: float | None = None,
        method: str | None = None,
        until: float | None = None,
    ) -> RateFindings:
        """Read a campaign; what is not given is the campaign's own.

        Raises:
            FileError: no trial is finished, or a file is malformed.
        """
        summary, entries = campaign.summary(), campaign.entries()
        results = campaign.rate_results.load(whole=False)
        if results.empty:
            path = campaign.rate_results.path
            raise FileError(f"{path}: no trial is finished, there is nothing to show")
        rule = (confidence or summary.confidence, method or summary.interval)
        cells = estimate_rates(results, *rule)
        asked = entries["rates"].get("until") if until is None else until
        return cls(campaign, entries, cells, *rule, asked)

    @property
    def path(self) -> Path:
        return self.campaign.path

    @property
    def model(self) -> str:
        return str(self.entries["model"])

    @property
    def samples(self) -> int:
        return int(self.entries["samples"])

    @property
    def golden(self) -> float:
        """Accuracy without a fault."""
        return float(self.entries["golden_accuracy"])

    @property
    def trials(self) -> int:
        """How many trials are finished."""
        return sum(cell.trials for cell in self.cells)

    @property
    def scopes(self) -> list[str]:
        """The network, and the layers that alone had faults."""
        return list(dict.fromkeys(cell.scope for cell in self.cells))

    def of_scope(self, scope: str) -> list[CellEstimates]:
        """Its cells, rates ascending."""
        return [cell for cell in self.cells if cell.scope == scope]

    @property
    def crossings(self) -> dict[str, Crossing]:
        """Where accuracy falls below ``until``, by scope; nothing where it was not asked."""
        if self.until is None:
            return {}
        return {scope: find_crossing(self.of_scope(scope), self.until) for scope in self.scopes}

    def describe_crossing(self, scope: str) -> str:
        """The same in a sentence."""
        assert self.until is not None
        if self.golden < self.until:
            return f"{scope}: accuracy is {self.golden:.2%} without a fault, below {self.until:.2%}"
        rate, low, high = self.crossings[scope]
        rates = [cell.rate for cell in self.of_scope(scope)]
        lower = f"above {low:g}" if low else f"from 0 on ({rates[0]:g} may be too much already)"
        upper = f"below {high:g}" if high < 2 else f"maybe beyond {rates[-1]:g}"
        at = "outside the rates that were run" if rate is None else f"at a rate of about {rate:.2g}"
        return (
            f"{scope}: accuracy falls below {self.until:.2%} {at}; "
            f"{self.confidence:.4g} interval: {lower}, {upper}"
        )
