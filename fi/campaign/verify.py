"""``--verify K``: some faults of a finished campaign again, on the full engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from fi.base.errors import ContractBroken
from fi.campaign.golden_run import GoldenRun
from fi.campaign.runner import Campaign
from fi.campaign.trainer import StaysOnDevice, run_test
from fi.engine.agreement import TOLERATED, Agreement, agreement, batch_outcomes
from fi.engine.base import Engine, as_trial
from fi.engine.full import FullEngine
from fi.engine.group_cutting import split_into_groups
from fi.faults.fault import Trial
from fi.metrics.counts import COUNT_COLUMNS
from fi.metrics.fault_counts import count_batch
from fi.network.batches import Batch

_OUTCOMES = slice(COUNT_COLUMNS.index("samples") + 1, COUNT_COLUMNS.index("non_finite"))


@dataclass(frozen=True)
class Verification:
    """What the full engine says of some faults of a campaign.

    Attributes:
        faults: that were run again.
        compared: outcomes pair by pair; a pair that only the results file has otherwise counts too.
        tolerated: part of the pairs that may differ.
        wrong_rows: injections whose row in the results file differs.
    """

    faults: int
    compared: Agreement
    tolerated: float
    wrong_rows: tuple[int, ...]

    @property
    def holds(self) -> bool:
        """Whether the engine kept its contract."""
        return self.compared.holds(self.tolerated)

    def __str__(self) -> str:
        text = f"verified {self.faults} faults on the full engine: {self.compared}"
        if not self.wrong_rows:
            return f"{text}; their rows in results.csv are the same"
        shown = ", ".join(map(str, self.wrong_rows[:10])) + (", ..." * (len(self.wrong_rows) > 10))
        return f"{text}; other counts in results.csv: injection {shown}"

    def check(self) -> None:
        """Raise ``ContractBroken`` unless the contract is kept."""
        if self.holds:
            return
        allowed = f"1 in {1 / self.tolerated:,.0f}" if self.tolerated else "none"
        trials = map(as_trial, self.compared.examples)
        examples = "; ".join(f"{t[0].injection}: {' and '.join(map(str, t))}" for t in trials)
        raise ContractBroken(
            f"{self.compared.differing} of {self.compared.pairs:,} pairs differ from the full "
            f"engine, allowed is {allowed}: {examples}"
        )

    def summary_entry(self) -> dict[str, Any]:
        """For ``summary.json``."""
        return {
            "faults": self.faults,
            "pairs": self.compared.pairs,
            "differing": self.compared.differing,
            "unmasked": self.compared.unmasked,
            "tolerated": self.tolerated,
            "wrong_rows": list(self.wrong_rows),
            "holds": self.holds,
        }


def verify(campaign: Campaign, results: pd.DataFrame, count: int, seed: int) -> Verification:
    """Run ``count`` random trials of a finished campaign again, over its whole test set.

    Compares pair by pair with the campaign's engine, and counts with the rows of ``results``.

    Raises:
        RuntimeError: the campaign has not been run.
    """
    trials = campaign.acting_trials  # what a code corrects or reports is run by no engine
    chosen = np.random.default_rng(seed).permutation(len(trials))[:count]
    faults = [trials[place] for place in sorted(chosen.tolist())]
    if not faults:
        return Verification(0, Agreement(0, 0, 0, ()), 0.0, ())
    with campaign.prepare():
        test = _Both(campaign.engine, campaign.make_full_engine(), campaign.golden, faults)
        run_test(campaign.trainer, test, campaign.subject.batches)
    by_trial = results.drop_duplicates("Injection").set_index("Injection")
    rows = by_trial.loc[[trial[0].injection for trial in faults]]
    wrong = _count_row_differences(
        rows[list(COUNT_COLUMNS)].to_numpy(np.int64), test.counts.T.numpy()
    )
    compared = agreement(torch.cat(test.reference, 1), torch.cat(test.compared, 1), faults)
    return Verification(
        len(faults),
        _add_row_differences(compared, test, wrong, faults),
        0.0 if campaign.settings.hardware.precision == "64-true" else TOLERATED,
        tuple(trial[0].injection for trial, pairs in zip(faults, wrong, strict=True) if pairs),
    )


def verify_and_record(
    campaign: Campaign, results: pd.DataFrame, count: int, seed: int
) -> Verification:
    """``verify``; what it finds is printed and noted in ``summary.json``.

    Raises:
        ContractBroken: more pairs differ than the contract allows.
    """
    verification = verify(campaign, results, count, seed)
    if campaign.processes.first:
        print(verification)
        campaign.files.add_to_summary(verified=verification.summary_entry())
    verification.check()
    return verification


class _Both(StaysOnDevice):
    """A test run in which the full engine and another one see every batch."""

    def __init__(
        self, engine: Engine, full: FullEngine, golden: GoldenRun, faults: Sequence[Trial]
    ) -> None:
        super().__init__()
        self.network = full.network
        self.engine, self.full = engine, full
        self.golden, self.listed = golden, list(faults)
        self.reference: list[Tensor] = []
        self.compared: list[Tensor] = []
        self.counts = torch.zeros(len(COUNT_COLUMNS), len(faults), dtype=torch.int64)

    def test_step(self, batch: Batch, number: int) -> None:
        events, labels = batch
        golden = self.golden.scores[number].to(events.device)
        first = self.golden.first_sample(number)
        rows = []
        for place, fault in enumerate(self.listed):
            with self.full.injected([fault]):
                portions = list(self.full.pairs(events, number, first=first))
            rows.append(batch_outcomes(portions, golden, 1))
            self.counts[:, place] += count_batch(portions, golden, labels, 1)[:, 0].cpu()
        self.reference.append(torch.cat(rows))
        self.compared.append(self._run_engine(events, number, golden))

    def _run_engine(self, events: Tensor, number: int, golden: Tensor) -> Tensor:
        rows = []
        for group in split_into_groups(self.listed, self.engine.group_size(len(self.listed))):
            with self.engine.injected(group):
                portions = self.engine.pairs(
                    events, number, golden, self.golden.first_sample(number)
                )
                rows.append(batch_outcomes(portions, golden, len(group)))
        return torch.cat(rows)


def _count_row_differences(rows: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """The fewest pairs that make counts ``[faults, columns]`` into those of the results file."""
    apart = np.abs(rows - counts)
    moved = -(-apart[:, _OUTCOMES].sum(axis=1) // 2)
    fewest: NDArray[np.int64] = np.maximum(moved, apart.max(axis=1))
    return fewest


def _add_row_differences(
    compared: Agreement, test: _Both, wrong: NDArray[np.int64], faults: Sequence[Trial]
) -> Agreement:
    """Add to the comparison the pairs in which only the results file differs."""
    differs = (torch.cat(test.reference, 1) != torch.cat(test.compared, 1)).sum(dim=1).numpy()
    most = np.maximum(differs, wrong)
    examples = tuple(fault for fault, pairs in zip(faults, most, strict=True) if pairs)[:5]
    return replace(compared, differing=int(most.sum()), examples=examples)
