"""A campaign: one fault list run on one network and one test set."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
import pytorch_lightning as pl

from fi.base.errors import ContractBroken, GraphDiffers, UserError, first_line
from fi.base.notes import warn_user
from fi.base.provenance import describe_machine, find_checkouts
from fi.campaign.callback_api import CampaignRecord
from fi.campaign.cluster.cluster_runs import ClusterRuns
from fi.campaign.cluster.work_order import MakeRuns, Remake, WorkOrder
from fi.campaign.fault_injection import FaultInjection
from fi.campaign.golden_run import GoldenRun, run_golden
from fi.campaign.ranks import Processes
from fi.campaign.running.announcements import describe_folder, describe_golden, describe_list
from fi.campaign.running.basis import (
    RunBasis,
    choose_level,
    find_basis,
    hold_folder,
    open_pairs,
)
from fi.campaign.running.decision_counts import DecisionCounts, read_earlier_counts
from fi.campaign.running.engine_finding import find_engine, find_stages
from fi.campaign.running.family_check import FamilyCheck, check_families
from fi.campaign.running.group_runs import GroupRuns
from fi.campaign.running.kept_pairs import (
    WATCHED,
    KeptPairs,
    choose_for_monitors,
    start_pairs,
)
from fi.campaign.running.listeners import Listeners
from fi.campaign.running.protected_runs import make_protected_runs, protect
from fi.campaign.running.score_warnings import find_score_warnings
from fi.campaign.running.session import Session, StoringSession
from fi.campaign.running.summary_entries import summarise_subject
from fi.campaign.schedule import ListedFaults, make_schedule
from fi.campaign.settings import Settings
from fi.campaign.subject import Subject, keep_network
from fi.campaign.trainer import exact_arithmetic, make_trainer, on_gpu
from fi.engine.full import FullEngine
from fi.engine.monitors.monitor_set import MonitorSet
from fi.engine.warm_up import warm_up
from fi.faults.fault import Fault, Trial
from fi.network.recorder.recorded_network import RecordedNetwork
from fi.sampling.sequential import IterativeDraw
from fi.statistics.result_table import merge_trials
from fi.store.campaign_folder import CampaignFiles, report_disk_errors
from fi.store.run_summary import ListRecord, RunSummary


class Campaign:
    """Runs a fault list.

    In a notebook: ``Campaign(Subject(network, data), faults).run()``.

    Args:
        subject: the network and its test set.
        faults: the fault list, or what draws one by interim analyses.
        settings: how to run it.
        source: where the list comes from.
        config: text of ``config.yaml``.
        options: plain values by name, shown in TensorBoard.
        callbacks: Lightning callbacks that follow it, as ``standard_callbacks`` makes them; the one
            that injects the faults is the campaign's own.
        say: takes the lines that tell the user what happens.
        monitors: that are asked about every pair, on the full engine.
        remake: makes the subject anew on a worker of a cluster, where one is to run the trials.

    Raises:
        UserError: the list is empty, the engine cannot take the network, or the machine has no
            such device.
    """

    #: The session of the first process.
    storing_session: ClassVar[type[StoringSession]] = StoringSession
    #: Of a golden run that the differential engine takes for a trial at most, as is expected.
    trial_part: ClassVar[float] = 1 / 20

    def __init__(
        self,
        subject: Subject,
        faults: Sequence[Fault] | IterativeDraw | ListedFaults,
        settings: Settings | None = None,
        source: ListRecord | None = None,
        config: str = "",
        options: Mapping[str, Any] | None = None,
        callbacks: Sequence[pl.Callback] = (),
        say: Callable[[str], None] = print,
        monitors: MonitorSet | None = None,
        remake: Remake | None = None,
    ) -> None:
        self.subject, self.monitors = subject, monitors
        self.settings = chosen = settings or Settings()
        self.schedule = make_schedule(faults, chosen.shard)
        subject.check_times(self.schedule.transient_layers)
        if chosen.ecc or chosen.protection is not None:
            self.schedule.protection = protect(subject, self.schedule, chosen)
        self.config, self.options = config, dict(options or {})
        self.callbacks = [FaultInjection(), *callbacks]
        self.trainer = make_trainer(chosen.hardware, self.callbacks)
        self.processes = Processes(self.trainer)
        self.engine, self.why = find_engine(
            subject,
            self.trainer.strategy.root_device,
            chosen.engine if monitors is None else choose_for_monitors(chosen),
            chosen.memory,
            chosen.threads,
            lambda: find_stages(subject, self.schedule),
        )
        if monitors is not None:
            self.why = WATCHED
        self._source, self._say = source or ListRecord(), say
        self._basis: RunBasis | None = None
        self._checked: FamilyCheck | None = None
        self._score_warnings: list[str] = []
        self._kept = KeptPairs()
        self._remake = remake

    @property
    def faults(self) -> list[Fault]:
        """The faults that are run, as far as they are known."""
        return self.schedule.faults

    @property
    def trials(self) -> list[Trial]:
        """The same, by trial."""
        return self.schedule.trials

    @property
    def acting_trials(self) -> list[Trial]:
        """What of the trials the network has: behind a code those that it lets through."""
        protection = self.schedule.protection
        if protection is None:
            return self.trials
        decoded = (protection.decode(trial).acting for trial in self.trials)
        return [trial for trial in decoded if trial]

    @property
    def basis(self) -> RunBasis:
        """What the newest run stands on, whether it came to its end or not.

        Raises:
            RuntimeError: the campaign has not been run as far as its golden run.
        """
        if self._basis is None:
            raise RuntimeError(f"the campaign on {self.subject.name} has not been run")
        return self._basis

    @property
    def golden(self) -> GoldenRun:
        """The golden run of the newest run; errors as ``basis``."""
        return self.basis.golden

    @property
    def files(self) -> CampaignFiles:
        """The files of the campaign; errors as ``basis``."""
        return self.basis.files

    @property
    def folder(self) -> Path | None:
        """The folder of the newest run; ``None`` before its golden run."""
        return None if self._basis is None else self._basis.files.path

    @property
    def source(self) -> ListRecord:
        """Where the list comes from, under the name that is known so far."""
        return self._source if self._basis is None else self._basis.source

    def run(self) -> pd.DataFrame:
        """Run what is not done yet; the results of the whole list, in its order.

        Where the engine was chosen by itself and fails its checks before the first fault, the full
        engine runs instead, and a warning says why.

        Raises:
            GraphDiffers, ContractBroken: the engine that was asked for fails these checks.
            UserError: the data or the golden run cannot be used, the folder cannot be written or
                is another process's, or holds results that do not belong.
            NetworkChanged: a parameter or buffer is not what it was.
            KeyboardInterrupt: Ctrl-C; what was done is stored.
        """
        try:
            return self._run()
        except (GraphDiffers, ContractBroken) as error:
            if self.settings.engine != "auto" or self.engine.name == FullEngine.name:
                raise
            self._take_full_engine(first_line(error))
        return self._run()

    def _take_full_engine(self, reason: str) -> None:
        """Go on with the full engine."""
        if self.processes.first:
            warn_user(f"{reason}; the campaign goes on with it, one fault a test run")
        self.subject.own.reset()
        self.engine = FullEngine(self.subject.network, self.subject.infer, self.subject.sites)
        self.why = f"full engine, one fault a test run: {reason}"

    def _run(self) -> pd.DataFrame:
        with self.prepare() as weights, self.processes.watch():
            self._basis = basis = self._find_basis(weights)
            self.processes.check_same(basis.files.identity)
            overwrite = self.settings.overwrite
            with (
                report_disk_errors(basis.files.path),
                hold_folder(basis, self.schedule, self.processes, overwrite) as earlier,
            ):
                return self._continue(basis, earlier)

    @contextmanager
    def prepare(self) -> Iterator[str]:
        """The network and torch as a campaign needs them, put back afterwards; a weights' hash."""
        precision = self.settings.hardware.precision
        with (
            keep_network(self.subject, precision) as weights,
            exact_arithmetic(on_gpu(self.trainer)),
        ):
            yield weights

    @property
    def recorded(self) -> RecordedNetwork | None:
        """The recorded stages that the engine runs; ``None`` where it runs no such."""
        staged = self.engine.network
        return staged if isinstance(staged, RecordedNetwork) else None

    def say(self, line: str) -> None:
        """Tell the user; with several processes the first one does."""
        if self.processes.first:
            self._say(line)

    def _find_basis(self, weights: str) -> RunBasis:
        """Make the golden run; what follows from it."""
        subject = self.subject
        golden = run_golden(
            self.trainer, subject.network, subject.infer, subject.batches, self.recorded
        )
        self.say(describe_golden(subject, golden))
        for note in subject.notes:
            self.say(note)
        self._score_warnings = find_score_warnings(subject, golden)
        for text in self._score_warnings:
            warn_user(text)
        parts = (self.schedule, self.settings, self.engine.name, self._source)
        return find_basis(subject, weights, golden, *parts)

    def _continue(self, basis: RunBasis, earlier: pd.DataFrame) -> pd.DataFrame:
        """Run what ``earlier`` lacks; all results."""
        files, done = basis.files, set(earlier["Injection"])
        todo = self.schedule.list_left(done)
        list_path = self._find_list_path(basis)
        self.processes.run_on_first(lambda: self.schedule.check_written(list_path))
        if not todo and self.processes.run_on_first(lambda: files.finished):
            self.processes.run_on_first(lambda: self.schedule.write(list_path))
            self.say(f"finished already: {files.path} (--overwrite runs it again)")
            return earlier
        self.say(self._describe_list(basis.source.name))
        for line in describe_folder(files, earlier, self.schedule) if self.processes.first else ():
            self.say(line)
        self._start_pairs(basis, done)
        self._warm_up()
        if self.settings.check_first and self.engine.name != FullEngine.name:
            self._check_families()
        self.processes.run_on_first(lambda: open_pairs(basis, done, self._kept.head))
        session = self._make_session(basis, earlier)
        with session.open(self._make_record(basis, earlier)):
            session.run(todo)
        return self.processes.run_on_first(files.results.load)

    def _describe_list(self, name: str) -> str:
        """What is run of the list ``name``, and by which engine."""
        return f"{describe_list(self.schedule, name)}; {self.why}"

    def _warm_up(self) -> None:
        """Compile the engine's kernels where no earlier run has."""
        events, _ = self.subject.batches.first()
        protected = self.schedule.protection is not None  # a decoder may make several of one
        several = self.schedule.multi_fault or protected
        if not on_gpu(self.trainer):
            families = self.subject.families
            warm_up(self.engine, families, events.to(self.subject.dtype), self.say, several)

    def _start_pairs(self, basis: RunBasis, done: Collection[int]) -> None:
        """Have the engine tell what is kept of every pair."""
        wanted = self.settings.save_pairs or ("scores" if self.monitors else "")
        level = self.processes.run_on_first(lambda: choose_level(basis.files, done, wanted))
        if level == "spikes" and self.settings.cluster is not None:
            raise UserError("--save-pairs spikes: not with --cluster, whose workers send scores")
        parts = (self.subject, self.engine, self.monitors, basis.golden.samples)
        self._kept = start_pairs(level, *parts, self.say)

    def make_full_engine(self) -> FullEngine:
        """A full engine that compares what the campaign's engine compares."""
        subject = self.subject
        full = FullEngine(subject.network, subject.infer, subject.sites)
        if self.engine.layers is not None:
            full.watch_spikes(self.engine.layers)
        return full

    def _check_families(self) -> None:
        """Some faults of every family on the full engine too."""
        subject, acting = self.subject, self.acting_trials
        if not acting:
            return
        full = self.make_full_engine()
        try:
            self._checked = check_families(
                self.trainer, self.engine, full, acting, subject.batches.first()
            )
        except ContractBroken:
            self.processes.run_on_first(self.files.remove_unused)
            raise
        self.say(str(self._checked))

    def _make_session(self, basis: RunBasis, earlier: pd.DataFrame) -> Session:
        files, processes = basis.files, self.processes
        listeners = Listeners(self.callbacks, processes.first)
        runs = self._make_runs(basis, listeners)
        if not processes.first:
            return Session(
                runs=runs, schedule=self.schedule, processes=processes, listeners=listeners
            )
        decisions = runs.make_decisions(read_earlier_counts(files, earlier, basis.golden.samples))
        return self.storing_session(
            runs=runs,
            schedule=self.schedule,
            processes=processes,
            listeners=listeners,
            files=files,
            summary=self._make_summary(basis, earlier, decisions),
            decisions=decisions,
            list_path=self._find_list_path(basis),
            config=self.config,
            say=self.say,
        )

    def _choose_runs(self) -> MakeRuns:
        """What makes the test runs, here or on a worker of a cluster."""
        if self.schedule.protection is not None:
            make = partial(
                make_protected_runs,
                models=self.schedule.models,
                ecc=self.settings.ecc,
                plan=self.settings.protection,
            )
            return partial(make, keep_pairs=self._kept.any)
        keep_scores, keep_pairs = self.settings.save_scores, self._kept.any
        return partial(GroupRuns, keep_scores=keep_scores, keep_pairs=keep_pairs)

    def _make_runs(self, basis: RunBasis, listeners: Listeners) -> GroupRuns:
        make_runs, settings = self._choose_runs(), self.settings
        parts = (self.trainer, self.engine, self.subject, basis.golden)
        if settings.cluster is None:
            return make_runs(*parts)
        if self._remake is None:
            raise UserError(f"--cluster {settings.cluster}: workers need what makes the subject")
        order = WorkOrder.make(
            self._remake,
            make_runs,
            self.engine.name,
            settings,
            self.subject.steps,
            basis.files.identity,
        )
        return ClusterRuns(
            *parts,
            keep_pairs=self._kept.any,
            cluster=settings.cluster,
            order=order,
            listeners=listeners,
            trial_part=1.0 if self.engine.name == FullEngine.name else self.trial_part,
            say=self.say,
        )

    def _find_list_path(self, basis: RunBasis) -> Path:
        """Where the list is, or is to be."""
        lists = self.settings.output / "fault_list" / self.subject.name
        return lists / basis.source.name

    def _make_summary(
        self, basis: RunBasis, earlier: pd.DataFrame, decisions: DecisionCounts
    ) -> RunSummary:
        """The summary of a run that goes on after ``earlier``."""
        parts = (basis.files, self._make_entries(basis), earlier, basis.golden.samples)
        return RunSummary(*parts, decisions.count)

    def _make_entries(self, basis: RunBasis) -> dict[str, Any]:
        """What is run and with what, for ``summary.json``."""
        shard, monitored = self.settings.shard, self._kept.monitored
        return {
            **summarise_subject(self.subject, basis),
            **self.schedule.summary_entries(),
            "score_warnings": self._score_warnings,
            "shard": str(shard) if shard else None,
            "engine": self.engine.name,
            "engine_why": self.why,
            "checked": self._checked.summary_entry() if self._checked else None,
            **({"monitors": monitored.summary_entry()} if monitored else {}),
            "precision": self.settings.hardware.precision,
            "processes": self.processes.count,
            "hashes": basis.files.identity,
            "machine": describe_machine(self.trainer.strategy.root_device),
            "git": find_checkouts(network=type(self.subject.network), data=self.subject.data_class),
        }

    def _make_record(self, basis: RunBasis, earlier: pd.DataFrame) -> CampaignRecord:
        """What the callbacks are told at the start."""
        return CampaignRecord(
            model=self.subject.name,
            output=self.settings.output,
            folder=basis.files.path,
            golden=basis.golden,
            batches=len(basis.golden.labels),
            faults=len(self.trials),
            earlier=merge_trials(earlier),
            settings=self.options,
            source=basis.source,
            figures=self.settings.figures,
            process=self.processes.rank,
        )


def say_nothing(line: str) -> None:
    """Take a line for the user and say nothing: for ``say`` of a campaign that is to be quiet."""
