"""Before a campaign: some faults of every site family on the full engine too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytorch_lightning as pl
from torch import Tensor

from fi.base.errors import ContractBroken
from fi.campaign.trainer import StaysOnDevice, run_test
from fi.engine.agreement import TOLERATED, Agreement, agreement, outcomes
from fi.engine.base import Engine, as_trial
from fi.engine.full import FullEngine
from fi.faults.fault import Trial, family_of
from fi.network.batches import Batch, Batches

#: Trials of a family that are run, and samples that each is run on.
TRIALS, SAMPLES = 2, 8
#: Where a pair differs, so many trials of its family are run to tell rounding from a mistake.
MORE_TRIALS = 32
#: Seed of the choice: not that of the list.
SEED = 240400383
#: Trials of a family among which those are looked for that are likely to have an effect.
_CONSIDERED = 256
#: The number of the slice for the engine; batches of the test set count from 0.
_SLICE = -1


@dataclass(frozen=True)
class FamilyCheck:
    """What the full engine says of some trials before the campaign.

    Attributes:
        families: how many there are.
        trials: that were run on both engines.
        pairs: that were compared.
        differing: pairs with another outcome.
        unmasked: pairs that the full engine does not call masked.
    """

    families: int
    trials: int
    pairs: int
    differing: int
    unmasked: int

    def __str__(self) -> str:
        agree = f"{self.pairs - self.differing} of {self.pairs}"
        return (
            f"checked on the full engine: {self.trials} faults of {self.families} site families, "
            f"{agree} pairs agree, {self.unmasked} of them not masked"
        )

    def summary_entry(self) -> dict[str, int]:
        """For ``summary.json``."""
        return dict(vars(self))


def check_families(
    trainer: pl.Trainer, engine: Engine, full: FullEngine, trials: Sequence[Trial], batch: Batch
) -> FamilyCheck:
    """Run some trials of every family on ``engine`` and on the full engine.

    Args:
        trainer: of the campaign.
        engine: of the campaign.
        full: the full engine, of the network itself.
        trials: of the campaign.
        batch: of the test set, of which the first samples are taken.

    Raises:
        ContractBroken: the engine does not keep its contract in some family.
    """
    by_family: dict[str, list[Trial]] = {}
    for trial in trials:
        by_family.setdefault(family_of(trial), []).append(trial)
    draw = np.random.default_rng(SEED)
    chosen = {name: _choose(group, TRIALS, draw) for name, group in by_family.items()}
    listed = [trial for group in chosen.values() for trial in group]
    both = _Both(engine, full)
    found = both.compare(trainer, listed, batch)
    if found.differing:
        for name in dict.fromkeys(family_of(as_trial(trial)) for trial in found.examples):
            more = both.compare(trainer, _choose(by_family[name], MORE_TRIALS, draw), batch)
            _check_family(name, more, trainer.precision)
    return FamilyCheck(len(chosen), len(listed), found.pairs, found.differing, found.unmasked)


def _check_family(name: str, found: Agreement, precision: Any) -> None:
    """Raise ``ContractBroken`` where too many pairs of a family differ."""
    if not found.holds(0.0 if precision == "64-true" else TOLERATED):
        raise ContractBroken(
            f"{name}: {found.differing} of {found.pairs} pairs differ from the full engine, such "
            f"as in {found.examples[0]}; --engine full runs this network as it is"
        )


def _choose(trials: Sequence[Trial], count: int, draw: np.random.Generator) -> list[Trial]:
    """Random trials, every second one among those that hit the highest bits."""
    order = draw.permutation(len(trials))[:_CONSIDERED].tolist()
    some = [trials[place] for place in order]
    likely = sorted(some[1:], key=_rank_effect, reverse=True)[: count // 2]
    taken = {id(trial) for trial in likely}
    others = [trial for trial in some if id(trial) not in taken]
    return [*likely, *others[: count - len(likely)]]


def _rank_effect(trial: Trial) -> int:
    """The highest bit that is hit; a fault of whole words comes first."""
    return max(max(fault.bits, default=32) for fault in trial)


class _Both(StaysOnDevice):
    """A test run of some samples on two engines."""

    def __init__(self, engine: Engine, full: FullEngine) -> None:
        super().__init__()
        self.network = full.network
        self.engine, self.full = engine, full
        self.trials: list[Trial] = []
        self.rows: list[Tensor] = []

    def compare(self, trainer: pl.Trainer, trials: list[Trial], batch: Batch) -> Agreement:
        """How the outcomes of both engines compare."""
        events, labels = batch
        self.trials, self.rows = trials, []
        few = [(events[:, :SAMPLES], labels[:SAMPLES])]
        run_test(trainer, self, Batches(few, "the first samples", dtype=events.dtype))
        reference, other = self.rows
        return agreement(reference, other, trials)

    def test_step(self, batch: Batch, number: int) -> None:
        self.rows = [
            outcomes(engine, self.trials, [batch], first=_SLICE)
            for engine in (self.full, self.engine)
        ]
