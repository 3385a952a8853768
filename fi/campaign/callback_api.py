"""What callbacks get to know of a campaign, and the hooks that it calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
import pytorch_lightning as pl

from fi.campaign.golden_run import GoldenRun
from fi.faults.fault import Trial
from fi.metrics.counts import GroupCounts
from fi.store.run_summary import ListRecord


@dataclass(frozen=True)
class CampaignRecord:
    """A campaign that is about to run.

    Attributes:
        model: name of the network.
        output: the root of all results.
        folder: of this campaign, ``output/<model>/<list name>-<hash>``.
        golden: the golden run.
        batches: number of batches in the test set.
        faults: the number of trials in the fault list, as far as it is known.
        earlier: results of the trials that an earlier run finished, one row each.
        settings: what was asked for, plain values by name.
        source: where the faults come from.
        figures: whether figures are wanted in the end.
        process: the number of this process, from 0.
    """

    model: str
    output: Path
    folder: Path
    golden: GoldenRun
    batches: int
    faults: int
    earlier: pd.DataFrame
    settings: Mapping[str, Any]
    source: ListRecord = field(default_factory=ListRecord)
    figures: bool = True
    process: int = 0

    @property
    def done(self) -> int:
        """The number of faults that an earlier run finished."""
        return len(self.earlier)


class CampaignCallback(pl.Callback):
    """A Lightning callback that also hears of the campaign around the test runs.

    Attributes:
        everywhere: whether it hears in every process of several, or in the first one only.
    """

    everywhere: ClassVar[bool] = False

    def on_campaign_start(self, record: CampaignRecord) -> None:
        """Before the first fault, after the golden run."""

    def on_interim_analysis(self, faults: int) -> None:
        """After an interim analysis: the list of an iterative campaign has so many trials now."""

    def on_workers(self, count: int) -> None:
        """When the workers of a cluster that run trials have become more or fewer."""

    def on_remote_group(self, counts: GroupCounts) -> None:
        """After a worker of a cluster has run a group; its counts are not stored yet."""

    def on_results(self, done: Sequence[Trial], counts: GroupCounts) -> None:
        """After the counts of these trials were stored."""

    def on_campaign_end(self) -> None:
        """After the last fault, an error or Ctrl-C."""
