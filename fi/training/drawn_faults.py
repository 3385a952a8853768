"""Faults of a training that are drawn anew in each step."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from fnmatch import fnmatchcase

from torch import nn

from fi.base.errors import UserError, report_errors
from fi.faults.fault_sites import SiteFamily, named_words, stored_families
from fi.faults.fault_space import FaultSpace
from fi.faults.groups.grouped_families import group_family
from fi.faults.hits.grouped_hits import expand_hits
from fi.faults.hits.hit_injection import hits_injected
from fi.faults.hits.hit_space import FamilyHits, HitSpace
from fi.faults.hits.random_numbers import HitDraw, derive_seed
from fi.training.fault_schedule import FaultSchedule


class DrawnFaults:
    """In each step other bits of the learnt words, or of groups of them, are wrong.

    The network is judged without a fault.

    Args:
        network: that is trained.
        schedule: which bits are wrong.

    Attributes:
        space: the bits that are drawn from.

    Raises:
        UserError: no learnt word fits the schedule, or none is in such a group.
    """

    def __init__(self, network: nn.Module, schedule: FaultSchedule) -> None:
        self.network, self.schedule = network, schedule
        learnt = {id(parameter) for parameter in network.parameters() if parameter.requires_grad}
        words = named_words(network)
        families = [f for f in stored_families(network) if id(words[f.name]) in learnt]
        self.space = _make_space(families, schedule)

    @property
    def key(self) -> str:
        """The schedule."""
        return repr(self.schedule)

    def draw(self, step: int, steps: int) -> list[FamilyHits]:
        """What is wrong in ``step`` of so many, word by word."""
        draw = HitDraw(derive_seed(self.schedule.seed, "training", step))
        if self.schedule.rates:
            drawn = self.space.draw(self.schedule.rate_at(step, steps), draw)
        else:
            drawn = self.space.draw_number(1, draw)
        return expand_hits(drawn, self.space.words)

    def inject(self, step: int, steps: int) -> AbstractContextManager[None]:
        """The network with the faults of a training step in place."""
        return hits_injected(self.network, self.draw(step, steps))

    def inject_to_evaluate(self) -> AbstractContextManager[None]:
        """The network without a fault."""
        return nullcontext()

    def describe(self) -> str:
        """What was trained under."""
        schedule = self.schedule
        what = f"bits of {schedule.group} groups" if schedule.group else "bits"
        how = f"at rates {', '.join(f'{rate:g}' for rate in schedule.rates)}"
        how = how if schedule.rates else "one a step"
        return f"Trained under faults of {self.space.size:,} {what} {how}"


def _make_space(families: Sequence[SiteFamily], schedule: FaultSchedule) -> HitSpace:
    fitting = [
        f for f in families if any(fnmatchcase(f.name, pattern) for pattern in schedule.sites)
    ]
    if not fitting:
        there = ", ".join(family.name for family in families)
        raise UserError(f"--faults.layers {','.join(schedule.sites)}: learnt words are {there}")
    chosen = fitting
    if schedule.group:
        with report_errors(ValueError, prefix="--faults.group: "):
            grouped = [group_family(family, schedule.group) for family in fitting]
        chosen = [family for family in grouped if family is not None]
        if not chosen:
            names = ", ".join(family.name for family in fitting)
            raise UserError(f"--faults.group {schedule.group}: there are none in {names}")
    with report_errors(ValueError, prefix="--faults: "):
        return HitSpace(FaultSpace(tuple(chosen), schedule.models, schedule.bits), families)
