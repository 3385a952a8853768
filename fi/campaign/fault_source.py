"""Where the faults of a campaign come from: a plan that draws them, a file, or a list in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fi.base.errors import UserError, report_errors
from fi.campaign.subject import Subject
from fi.faults.fault import Fault
from fi.faults.fault_checks import check_known
from fi.faults.fault_list import check_trials, read_fault_list, write_fault_list
from fi.faults.fault_sites import Kind
from fi.faults.fault_space import FaultSpace
from fi.faults.groups.grouped_families import find_family
from fi.sampling.fault_draw import draw
from fi.sampling.pilot import PilotPlan
from fi.sampling.plan import SamplingPlan
from fi.sampling.plan_file import read_plan, write_plan
from fi.sampling.prior import derive_prior
from fi.sampling.sequential import IterativeDraw
from fi.sampling.sequential_plan import IterativePlan
from fi.sampling.strata import describe_design
from fi.statistics.survey_design import Design
from fi.store.run_summary import ListRecord

#: What a user may give: a plan, the name or path of a list, or the faults themselves.
GivenFaults = SamplingPlan | IterativePlan | PilotPlan | str | Path | Sequence[Fault]


@dataclass(frozen=True)
class FaultSource:
    """The faults of a campaign and where they are from.

    Attributes:
        faults: the list.
        space: the fault space that it was, or may have been, drawn from.
        path: the file of the list; one that was drawn is yet to be written.
        plan: what drew it; ``None`` for a list that was given.
        design: how it was drawn, and from which faults; ``None`` where that is not known.
        draw: what draws the list by interim analyses; ``faults`` are none then, and the campaign
            names and writes the list.
        pilot: what the sizes of the draw were planned by.
    """

    faults: list[Fault]
    space: FaultSpace
    path: Path
    plan: SamplingPlan | None
    design: Design | None = None
    draw: IterativeDraw | None = None
    pilot: PilotPlan | None = None

    @property
    def runnable(self) -> Sequence[Fault] | IterativeDraw:
        """What a campaign takes."""
        return self.draw or self.faults

    @property
    def record(self) -> ListRecord:
        """What the summary says of it."""
        scheme = "list" if self.design is None else self.design.scheme
        single = len({fault.injection for fault in self.faults}) == len(self.faults)
        known = single and (self.plan is not None or all(map(_is_plain, self.faults)))
        populations = {
            family.name: self.space.size_of(family) if known else None
            for family in self.space.families
        }
        seed = None if self.plan is None else self.plan.seed
        return ListRecord(self.path.name, scheme, populations, seed, self.design)

    def write(self) -> None:
        """Write a list that was drawn; one that is there must be the same."""
        if self.plan is not None and self.draw is None:
            write_fault_list(self.path, self.faults)
            if self.design is not None:
                write_plan(self.path, self.plan, self.design)


def _is_plain(fault: Fault) -> bool:
    """Whether the space of any list counts such faults: one bit at most, one step or permanent."""
    return len(fault.bits) < 2 and (fault.steps is None or len(fault.steps) == 1)


def make_fault_source(given: GivenFaults, subject: Subject, output: Path) -> FaultSource:
    """Find the faults that ``given`` means for this network.

    Args:
        given: a plan draws a list, an iterative one by interim analyses, one with a pilot as many
            faults as that asks for; a bare name is looked up in ``output/fault_list/<model>``, a
            path is taken as it is; faults are taken as they are, under the name ``faults``.
        subject: the network and its data.
        output: the root of all results.

    Raises:
        UserError: there is no such list, or the plan or the list does not fit the network.
    """
    lists = output / "fault_list" / subject.name
    with report_errors(ValueError):
        if not _is_permanent(given):
            subject.measure_steps()
        if isinstance(given, IterativePlan):
            return _make_iterative_source(given, subject, lists)
        if isinstance(given, PilotPlan):
            space = given.plan.space(subject.sites, subject.steps)
            sized = take_formats(given.size(space), subject)
            return replace(draw_source(sized, space, lists), pilot=given)
        if isinstance(given, SamplingPlan):
            given = take_formats(given, subject)
            space = given.space(subject.sites, subject.steps)
            return draw_source(add_prior(given, space, subject), space, lists)
        if isinstance(given, (str, Path)):
            path = find_list(str(given), lists)
            faults = read_fault_list(path, subject.sites, subject.steps)
            design = read_plan(path, subject.sites)
        else:
            path, faults, design = Path("faults"), check_faults(given, subject), None
        return FaultSource(faults, infer_space(faults, subject), path, None, design)


def _is_permanent(given: GivenFaults) -> bool:
    """Whether no fault lasts for some steps only, as far as that is known."""
    if isinstance(given, (IterativePlan, PilotPlan)):
        return _is_permanent(given.plan)
    if isinstance(given, SamplingPlan):
        return not given.transient and given.during is None
    return not isinstance(given, (str, Path)) and all(fault.steps is None for fault in given)


def _make_iterative_source(given: IterativePlan, subject: Subject, lists: Path) -> FaultSource:
    plan = take_formats(given.plan, subject)
    space = plan.space(subject.sites, subject.steps)
    draw = IterativeDraw(space, plan, given.confidence, given.rates, given.interval)
    return FaultSource([], space, lists / plan.list_name, plan, draw.design, draw)


def take_formats(plan: SamplingPlan, subject: Subject) -> SamplingPlan:
    """The plan for words and states of the subject's formats."""
    return replace(plan, word_format=subject.word_format, state_format=subject.state_format)


def add_prior(plan: SamplingPlan, space: FaultSpace, subject: Subject) -> SamplingPlan:
    """Give a data-aware plan that has no prior that of the golden words."""
    if plan.scheme != "data-aware" or plan.prior:
        return plan
    return replace(plan, prior=derive_prior(space, subject.network))


def draw_source(plan: SamplingPlan, space: FaultSpace, lists: Path) -> FaultSource:
    """Draw from ``space`` what ``plan`` says."""
    design = describe_design(space, plan.scheme, plan.together, plan.within_layer)
    return FaultSource(draw(space, plan), space, lists / plan.list_name, plan, design)


def check_faults(faults: Sequence[Fault], subject: Subject) -> list[Fault]:
    """The faults as a list; ``ValueError`` for one that this network cannot have."""
    if not faults:
        raise ValueError("the fault list is empty")
    known = {family.name: family for family in subject.sites}
    for fault in faults:
        check_known(fault, known, subject.steps)
    check_trials(faults)
    return list(faults)


def find_list(given: str, lists: Path) -> Path:
    """Look a bare name up in ``lists``; a path is taken as it is."""
    path = Path(given)
    if path.name == given and (lists / given).exists():
        return lists / given
    if path.exists() or path.name != given:
        return path
    known = ", ".join(sorted(p.name for p in lists.glob("*_fault_list.csv"))) or "none"
    raise UserError(f"--fault-list {given}: there is no such list in {lists}; known: {known}")


def infer_space(faults: Sequence[Fault], subject: Subject) -> FaultSpace:
    """The space that a list may have been drawn from: its models, all bits, all sites."""
    models = tuple(dict.fromkeys(fault.model for fault in faults))
    times: dict[range | None, None] = dict.fromkeys(fault.steps for fault in faults)
    if any(time is not None and len(time) == 1 for time in times):
        times = dict.fromkeys(range(t, t + 1) for t in range(subject.steps))
    faulty = {fault.layer for fault in faults}
    asked = (Kind.INPUT, Kind.CIRCUIT)
    sites = [f for f in subject.sites if f.kind not in asked or f.name in faulty]
    known = {family.name: family for family in subject.sites}
    grouped = [find_family(known, name) for name in sorted(faulty - known.keys())]
    sites += [family for family in grouped if family is not None]
    return FaultSpace(tuple(sites), models, steps=tuple(times))
