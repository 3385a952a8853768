"""A campaign while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from fi.campaign.callback_api import CampaignRecord
from fi.campaign.ranks import Processes
from fi.campaign.running.decision_counts import DecisionCounts
from fi.campaign.running.group_runs import GroupRuns, PackedPairs
from fi.campaign.running.listeners import Listeners
from fi.campaign.schedule import ListedFaults
from fi.faults.fault import Fault, Trial
from fi.faults.word_values import word_values
from fi.metrics.counts import GroupCounts
from fi.store.campaign_folder import CampaignFiles
from fi.store.run_summary import RunSummary, record_run
from fi.store.write_buffer import ResultsBuffer


@dataclass(kw_only=True)
class Session:
    """A campaign while it runs, in a process that computes and writes nothing.

    It is made when the first process holds the folder, and used within ``open``.

    Attributes:
        runs: the test runs, of one engine against one golden run.
        schedule: the fault list, as far as it is known.
        processes: among which the campaign is split.
        listeners: the callbacks that hear of it in this process.
    """

    runs: GroupRuns
    schedule: ListedFaults
    processes: Processes
    listeners: Listeners

    @contextmanager
    def open(self, record: CampaignRecord) -> Iterator[None]:
        """Begin, and end whatever happens: files first, then the callbacks hear of it."""
        with self.runs.open(), self._record_run(), self.listeners.follow(record):
            yield

    def run(self, todo: Sequence[Trial]) -> None:
        """Run the trials ``todo``, then those that interim analyses add to the list."""
        self._run_groups(todo)
        while not self.schedule.complete and (added := self._analyse()):
            self._run_groups(self.schedule.group(added))
        self.runs.forget()  # before results are read and figures drawn

    def _run_groups(self, todo: Sequence[Trial]) -> None:
        if not todo:
            return
        self._expect(len(todo), self.runs.size_group(len(todo)))
        try:
            for group, counts, packed in self.runs.run(todo):
                self._store(group, counts, packed)
        finally:
            self._flush()

    def _analyse(self) -> Sequence[Fault]:
        """Make the interim analysis, in the first process; the faults that it adds, in all."""
        before = len(self.schedule.listed)
        self.schedule.catch_up(self.processes.run_on_first(self._extend_list))
        self.listeners.report_interim_analysis(len(self.schedule.trials))
        return self.schedule.listed[before:]

    def _record_run(self) -> AbstractContextManager[None]:
        return nullcontext()

    def _expect(self, trials: int, group: int) -> None:
        """The next ``trials`` are run in groups of ``group``."""

    def _store(
        self, group: Sequence[Trial], counts: GroupCounts, packed: PackedPairs | None
    ) -> None:
        """Take the counts and the pairs of a group that is finished."""

    def _flush(self) -> None:
        """Store what was taken."""

    def _extend_list(self) -> Sequence[Fault]:
        """The whole list after an interim analysis, which the first process makes."""
        return self.schedule.listed


@dataclass(kw_only=True)
class StoringSession(Session):
    """The session of the first process, which also writes what is run, how it goes and ends.

    Attributes:
        files: of the campaign, whose folder this process holds.
        summary: of this run, after earlier ones.
        decisions: how pairs were decided.
        list_path: where a list that grows is written.
        config: text of ``config.yaml``.
        say: takes the lines for the user.
        buffer: where the counts go: into the file, then the summary and the callbacks hear of them.
    """

    files: CampaignFiles
    summary: RunSummary
    decisions: DecisionCounts
    list_path: Path
    config: str
    say: Callable[[str], None]
    buffer: ResultsBuffer = field(init=False)

    def __post_init__(self) -> None:
        pairs = self.files.pairs if self.runs.keep_pairs else None
        self.buffer = ResultsBuffer(self.files.results, self._report_stored, pairs)

    @contextmanager
    def _record_run(self) -> Iterator[None]:
        self.files.write_config(self.config)
        self.schedule.write(self.list_path)
        with record_run(self.summary):
            yield

    def _expect(self, trials: int, group: int) -> None:
        self.decisions.expect(trials, group)

    def _store(
        self, group: Sequence[Trial], counts: GroupCounts, packed: PackedPairs | None
    ) -> None:
        subject = self.runs.subject
        faults = [fault for trial in group for fault in trial]
        values = word_values(subject.network, faults, subject.families)
        self.buffer.add(group, counts, values, packed)

    def _flush(self) -> None:
        self.buffer.flush()

    def _report_stored(self, done: Sequence[Trial], counts: GroupCounts) -> None:
        self.summary.note_stored(done, self.runs.summarise())
        self.listeners.report_results(done, counts)

    def _extend_list(self) -> Sequence[Fault]:
        added = self.schedule.draw_next(self.files.results.load)
        self.say(self.schedule.describe_status())
        if added:
            self.schedule.extend(added)
            self.schedule.write(self.list_path)
        self.summary.note_longer_list(self.schedule.summary_entries())
        return self.schedule.listed
