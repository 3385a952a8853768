"""The callbacks that hear of a campaign, in one process of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import pytorch_lightning as pl

from fi.campaign.callback_api import CampaignCallback, CampaignRecord
from fi.faults.fault import Trial
from fi.metrics.counts import GroupCounts


class Listeners:
    """Those of the Trainer's callbacks that are told of the campaign around the test runs.

    Args:
        callbacks: all of them.
        first: whether this is the first process of the campaign, in which all of them hear.
    """

    def __init__(self, callbacks: Sequence[pl.Callback], first: bool) -> None:
        listening = [c for c in callbacks if isinstance(c, CampaignCallback)]
        self._callbacks = [callback for callback in listening if first or callback.everywhere]

    @contextmanager
    def follow(self, record: CampaignRecord) -> Iterator[None]:
        """Tell them of the start, and of the end whatever it is."""
        try:
            for callback in self._callbacks:
                callback.on_campaign_start(record)
            yield
        except BaseException:
            for callback in self._callbacks:
                with suppress(OSError):  # on a full disk; the error that ended the run is reported
                    callback.on_campaign_end()
            raise
        for callback in self._callbacks:
            callback.on_campaign_end()

    def report_interim_analysis(self, trials: int) -> None:
        """Tell them that the list of an iterative campaign has so many trials now."""
        for callback in self._callbacks:
            callback.on_interim_analysis(trials)

    def report_workers(self, count: int) -> None:
        """Tell them how many workers of a cluster run trials now."""
        for callback in self._callbacks:
            callback.on_workers(count)

    def report_remote_group(self, counts: GroupCounts) -> None:
        """Tell them that a worker of a cluster has run a group with these counts."""
        for callback in self._callbacks:
            callback.on_remote_group(counts)

    def report_results(self, done: Sequence[Trial], counts: GroupCounts) -> None:
        """Tell them that the counts of these trials are stored."""
        for callback in self._callbacks:
            callback.on_results(done, counts)
