"""Where the faults of a campaign come from: a plan that draws them, a file, or a list in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fi.errors import UserError, reported
from fi.fault_list import read_fault_list, write_fault_list
from fi.faults import Fault
from fi.sampling import SamplingPlan, draw
from fi.space import FaultSpace, check_known
from fi.subject import Subject
from fi.summary import ListRecord

#: What a user may give: a plan, the name or path of a list, or the faults themselves.
GivenFaults = SamplingPlan | str | Path | Sequence[Fault]


@dataclass(frozen=True)
class FaultSource:
    """The faults of a campaign and where they are from.

    Attributes:
        faults: the list.
        space: the fault space that it was, or may have been, drawn from.
        path: the file of the list; one that was drawn is yet to be written.
        plan: what drew it; ``None`` for a list that was given.
    """

    faults: list[Fault]
    space: FaultSpace
    path: Path
    plan: SamplingPlan | None

    @property
    def record(self) -> ListRecord:
        """What the summary says of it."""
        scheme = "list" if self.plan is None else self.plan.scheme
        populations = {family.name: self.space.size_of(family) for family in self.space.families}
        return ListRecord(self.path.name, scheme, populations)

    def write(self) -> None:
        """Write a list that was drawn; one that is there must be the same."""
        if self.plan is not None:
            write_fault_list(self.path, self.faults)


def fault_source(given: GivenFaults, subject: Subject, output: Path) -> FaultSource:
    """The faults that ``given`` means for this network.

    Args:
        given: a plan draws a list; a bare name is looked up in ``output/fault_list/<model>``, a
            path is taken as it is; faults are taken as they are, under the name ``faults``.
        subject: the network and its data.
        output: the root of all results.

    Raises:
        UserError: there is no such list, or the plan or the list does not fit the network.
    """
    lists = output / "fault_list" / subject.name
    with reported(ValueError):
        if isinstance(given, SamplingPlan):
            space = given.space(subject.families, subject.steps)
            return FaultSource(draw(space, given), space, lists / given.list_name, given)
        if isinstance(given, (str, Path)):
            path = found_list(str(given), lists)
            faults = read_fault_list(path, subject.families, subject.steps)
        else:
            path, faults = Path("faults"), checked_faults(given, subject)
        return FaultSource(faults, space_around(faults, subject), path, None)


def checked_faults(faults: Sequence[Fault], subject: Subject) -> list[Fault]:
    """``faults``, all of which this network can have; ``ValueError`` for one that it cannot."""
    if not faults:
        raise ValueError("the fault list is empty")
    known = {family.name: family for family in subject.families}
    for fault in faults:
        check_known(fault, known, subject.steps)
    numbers = {fault.injection for fault in faults}
    if len(numbers) != len(faults):
        raise ValueError("an injection number comes twice among the faults; allowed: each once")
    return list(faults)


def found_list(given: str, lists: Path) -> Path:
    """A bare name is looked up in ``lists``, a path is taken as it is."""
    path = Path(given)
    if path.name == given and (lists / given).exists():
        return lists / given
    if path.exists() or path.name != given:
        return path
    known = ", ".join(sorted(p.name for p in lists.glob("*_fault_list.csv"))) or "none"
    raise UserError(f"--fault-list {given}: there is no such list in {lists}; known: {known}")


def space_around(faults: Sequence[Fault], subject: Subject) -> FaultSpace:
    """The space that a list may have been drawn from: its models, all bits, all sites."""
    models = tuple(dict.fromkeys(fault.model for fault in faults))
    permanent = all(fault.steps is None for fault in faults)
    steps = (None,) if permanent else tuple(range(t, t + 1) for t in range(subject.steps))
    return FaultSpace(tuple(subject.families), models, steps=steps)
