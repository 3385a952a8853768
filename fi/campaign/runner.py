"""A campaign: one fault list run on one network and one test set."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytorch_lightning as pl

from fi.base.checkouts import checkouts
from fi.base.provenance import machine
from fi.base.user_classes import own_module
from fi.campaign.callback_api import CampaignCallback, CampaignRecord
from fi.campaign.decision_counts import Decisions, Shares
from fi.campaign.fault_test import FaultTest
from fi.campaign.golden_run import GoldenRun, golden_run
from fi.campaign.ranks import Processes
from fi.campaign.schedule import looks_of
from fi.campaign.subject import Subject
from fi.campaign.summary_entries import summary_entries
from fi.campaign.trainer import Hardware, exact_arithmetic, on_gpu, run_test
from fi.engine.select import choose_engine
from fi.engine.warm_up import warm_up
from fi.faults.fault import Fault, Trial, group_trials
from fi.faults.models import user_model_sources
from fi.faults.word_values import word_values
from fi.metrics.counts import GroupCounts
from fi.metrics.fault_counts import FaultCounts
from fi.network.precision import computing_in
from fi.sampling.sequential import IterativeDraw
from fi.sampling.shards import Shard
from fi.statistics.result_table import merge_trials
from fi.store.campaign_folder import CampaignFiles, tag_of, writing
from fi.store.decisions import add_decided
from fi.store.identity import network_hash, text_hash, weights_hash
from fi.store.run_summary import ListRecord, RunSummary, past_runs, recorded
from fi.store.write_buffer import ResultsBuffer


@dataclass(frozen=True)
class Settings:
    """How a campaign is run.

    Attributes:
        output: the root of all results.
        engine: auto, full, ...
        memory: the differential engine's budget in bytes; ``None`` leaves it to the engine.
        threads: of its kernels; ``None`` takes as many as torch uses.
        hardware: what Lightning runs on.
        save_scores: write every faulty score tensor.
        progress: what the bar counts, ``predictions`` or ``scores``; ``None`` draws no bar.
        overwrite: run a finished campaign again.
        figures: draw the figures of the report and of TensorBoard in the end.
        shard: the part of the list that is run; ``None`` is all of it.
    """

    output: Path = Path("output")
    engine: str = "auto"
    memory: int | None = None
    threads: int | None = None
    hardware: Hardware = field(default_factory=Hardware)
    save_scores: bool = False
    progress: str | None = "predictions"
    overwrite: bool = False
    figures: bool = True
    shard: Shard | None = None


class NetworkChanged(RuntimeError):
    """A campaign did not leave the network as it was."""


class Campaign:
    """Runs a fault list.

    In a notebook: ``Campaign(Subject(network, data), faults).run()``.

    Args:
        subject: the network and its test set.
        faults: the fault list, or what draws one look after look.
        settings: how to run it.
        source: where the list comes from.
        config: text of ``config.yaml``.
        options: plain values by name, shown in TensorBoard.
        callbacks: further Lightning callbacks.
        say: takes the lines that tell the user what happens.
    """

    def __init__(
        self,
        subject: Subject,
        faults: Sequence[Fault] | IterativeDraw,
        settings: Settings | None = None,
        source: ListRecord | None = None,
        config: str = "",
        options: Mapping[str, Any] | None = None,
        callbacks: Sequence[pl.Callback] = (),
        say: Callable[[str], None] = print,
    ) -> None:
        self.subject = subject
        self.settings = settings or Settings()
        self.looks = looks_of(faults, self.settings.shard)
        self.source = source or ListRecord()
        self.config = config
        self.options = dict(options or {})
        self._say = say
        self.callbacks = [*self._own_callbacks(), *callbacks]
        chosen = self.settings
        self.engine, self.why = choose_engine(
            chosen.engine, subject.network, subject.infer, chosen.memory, chosen.threads
        )
        self.trainer = self.settings.hardware.trainer(self.callbacks)
        self.processes = Processes(self.trainer)
        self._shares = Shares(1)
        self.files: CampaignFiles | None = None
        self.golden: GoldenRun | None = None

    @property
    def faults(self) -> list[Fault]:
        """The faults that are run, as far as they are known."""
        return self.looks.faults

    @property
    def trials(self) -> list[Trial]:
        """The same, by trial."""
        return self.looks.trials

    def run(self) -> pd.DataFrame:
        """Run what is not done yet; the results of the whole list, in its order.

        Raises:
            UserError: the data or the golden run cannot be used, the folder cannot be written or
                is another process's, or holds results that do not belong.
            NetworkChanged: a parameter or buffer is not what it was.
            KeyboardInterrupt: Ctrl-C; what was done is stored.
        """
        with self.prepared(), self.processes.watched():
            self.golden = golden = self._golden_run()
            self.files = folder = self._files(golden)
            self.processes.check_same(folder.identity)
            with writing(folder.path), ExitStack() as held:
                earlier = self.processes.from_first(lambda: self._opened(folder, golden, held))
                if not self.looks.last:  # the first process has replayed what was stored
                    self._take(self.processes.from_first(lambda: self.looks.listed))
                done = set(earlier["Injection"])
                todo = [trial for trial in self.trials if trial[0].injection not in done]
                if not todo and self.processes.from_first(lambda: folder.finished):
                    self.say(f"finished already: {folder.path} (--overwrite runs it again)")
                    return earlier
                self._announce(folder, earlier)
                self._warm_up()
                self._run_listed(todo, golden, folder, earlier)
                return self.processes.from_first(folder.results.load)

    def _opened(self, folder: CampaignFiles, golden: GoldenRun, held: ExitStack) -> pd.DataFrame:
        """Hold the folder as long as ``held`` is open; what an earlier run left there."""
        held.enter_context(folder.locked())
        folder.tidy()
        if self.settings.overwrite:
            folder.clear()
        constant = {"samples": golden.samples, "golden_correct": golden.correct}
        return folder.earlier(self._listed_for, constant)

    def _listed_for(self, results: pd.DataFrame) -> Sequence[Fault]:
        self.looks.replay(results)
        return self.faults

    def _take(self, listed: Sequence[Fault]) -> None:
        """Know what the first process has listed."""
        self.looks.add(listed[len(self.looks.listed) :])

    def _run_listed(
        self, todo: Sequence[Trial], golden: GoldenRun, folder: CampaignFiles, earlier: pd.DataFrame
    ) -> None:
        """Run ``todo``; the first process writes what it is, how it goes, and how it ends."""
        buffer = summary = None
        self._shares = Shares(self.processes.count)
        with ExitStack() as around:
            if self.processes.first:
                entries = self._entries(folder, golden)
                decided = self._decided(folder, earlier, golden)
                summary = RunSummary(folder, entries, earlier, golden.samples, decided)
                folder.write_config(self.config)
                self.looks.write(self._list_path)
                around.enter_context(recorded(summary))
                buffer = self._buffer(folder, summary)
            around.enter_context(self._told(folder, golden, earlier))
            self._run_groups(todo, golden, buffer)
            while not self.looks.last and (look := self._next_look(folder, summary)):
                self._run_groups(group_trials(look), golden, buffer)

    def _next_look(self, folder: CampaignFiles, summary: RunSummary | None) -> Sequence[Fault]:
        """The faults of the next look, in all processes; the first one finds, writes and tells."""
        before = len(self.looks.listed)
        self._take(self.processes.from_first(lambda: self._grown(folder, summary)))
        for callback in self._listeners():
            callback.on_look(len(self.trials))
        return self.looks.listed[before:]

    def _grown(self, folder: CampaignFiles, summary: RunSummary | None) -> Sequence[Fault]:
        assert summary is not None
        look = self.looks.following(folder.results.load)
        self.say(self.looks.told())
        if look:
            self.looks.add(look)
            self.looks.write(self._list_path)
        summary.grown(self._lengths())
        return self.looks.listed

    def _run_groups(
        self, todo: Sequence[Trial], golden: GoldenRun, buffer: ResultsBuffer | None
    ) -> None:
        """Group after group through Lightning test runs, the counts into ``buffer``."""
        if not todo:
            return
        size = self._group_size(todo)
        self._shares.look(len(todo), size)
        metric = FaultCounts(min(size, len(todo)))
        test = FaultTest(self.engine, golden, metric, keep_pairs=self.settings.save_scores)
        try:
            for group in grouped(todo, size):
                test.take(group, self.trainer.global_rank, self.trainer.world_size)
                run_test(self.trainer, test, self.subject.batches)
                counts = _first(metric.compute(), len(group))
                if buffer is not None:
                    listed = [fault for trial in group for fault in trial]
                    values = word_values(self.subject.network, listed, self.subject.families)
                    buffer.add(group, counts, values)
                metric.reset()
        finally:
            if buffer is not None:
                buffer.flush()

    def _group_size(self, todo: Sequence[Trial]) -> int:
        """How many faults one test run takes, in all processes together."""
        return self.engine.group_size(len(todo)) * self.processes.count

    def _decided(
        self, folder: CampaignFiles, earlier: pd.DataFrame, golden: GoldenRun
    ) -> Callable[[int], dict[str, int]]:
        """Says how pairs were decided, those of earlier runs too, when so many more are done."""
        before, counted, samples = folder.decided(), Decisions(self.engine), golden.samples
        stored = earlier["Injection"].nunique() * samples
        if unsaid := stored - sum(before.values()):  # a killed run had stored them
            before = add_decided(before, {"not_counted": unsaid})

        def decided(done: int) -> dict[str, int]:
            mine = self._shares.own(done)
            pairs, others = mine * samples, (done - mine) * samples
            return add_decided(before, counted.count(pairs, others))

        return decided

    @contextmanager
    def prepared(self) -> Iterator[None]:
        """The network and torch as a campaign needs them; put back afterwards."""
        with self._network_kept(), exact_arithmetic(on_gpu(self.trainer)):
            yield

    def _warm_up(self) -> None:
        """Compile the engine's kernels where no earlier run has."""
        events, _ = self.subject.batches.first()
        together = any(len(trial) > 1 for trial in self.trials)
        if not on_gpu(self.trainer):
            families = self.subject.families
            warm_up(self.engine, families, events.to(self.subject.dtype), self.say, together)

    def _golden_run(self) -> GoldenRun:
        subject = self.subject
        golden = golden_run(self.trainer, subject.network, subject.infer, subject.batches)
        words = ""
        if subject.accuracy_before is not None:
            words = f"; words of {subject.word_format}, {subject.accuracy_before:.2%} in float32"
        self.say(
            f"{subject.name} on {subject.data_name}: golden accuracy {golden.accuracy:.2%} of "
            f"{golden.samples} samples, {subject.steps} time steps{words}"
        )
        return golden

    def _files(self, golden: GoldenRun) -> CampaignFiles:
        identity = {
            "network": network_hash(self.subject.network),
            "weights": self._weights,
            "data": str(self.subject.batches.digest),
            "golden": golden.digest,
            "faults": self.looks.digest,
            "precision": self.settings.hardware.precision,
            "engine": self.engine.name,
            **self._special(),
        }
        root = self.settings.output / self.subject.name
        name = self.looks.name(Path(self.source.name).stem, tag_of(identity))
        self.source = replace(self.source, name=f"{name}{Path(self.source.name).suffix}")
        return CampaignFiles(root, name, identity, self.settings.shard)

    @property
    def _list_path(self) -> Path:
        """Where a list that grows is written."""
        return self.settings.output / "fault_list" / self.subject.name / self.source.name

    def _special(self) -> dict[str, str]:
        """What else the results depend on, where it is not the usual."""
        special = {}
        if self.subject.accuracy_before is not None:
            special["format"] = self.subject.word_format
        own = user_model_sources(self.looks.models)
        if own:
            special["models"] = text_hash("\n".join(own))
        return special

    def say(self, line: str) -> None:
        """Tell the user; with several processes the first one does."""
        if self.processes.first:
            self._say(line)

    def _announce(self, folder: CampaignFiles, earlier: pd.DataFrame) -> None:
        shard = self.settings.shard
        listed = len({fault.injection for fault in self.looks.listed})
        together = listed < len(self.looks.listed)
        what = f"trials of {len(self.looks.listed)} faults" if together else "faults"
        part = f"shard {shard}, {len(self.trials)} of " if shard else ""
        self.say(f"{part}{listed} {what} of {self.source.name}; {self.why}")
        if not self.processes.first:
            return
        if len(earlier):
            last = (past_runs(folder.summary()) or [{}])[-1]
            self.say(
                f"{earlier['Injection'].nunique()} {'trials' if together else 'faults'} are done "
                "already: continuing the run "
                f"that was started {last.get('started')} on {last.get('host')} "
                f"({last.get('status')})"
            )
        for path, differing in folder.siblings().items() if earlier.empty else ():
            self.say(f"{path} is another campaign: other {', '.join(differing)}")

    @contextmanager
    def _network_kept(self) -> Iterator[None]:
        """The network in the precision of the run; afterwards bit for bit as it was."""
        self._weights = weights_hash(self.subject.network)
        try:
            with computing_in(self.subject.network, self.settings.hardware.precision):
                yield
        finally:
            if weights_hash(self.subject.network) != self._weights:
                raise NetworkChanged(f"{self.subject.name} is not what it was before the campaign")

    def _entries(self, folder: CampaignFiles, golden: GoldenRun) -> dict[str, Any]:
        """What is run and with what, for ``summary.json``."""
        shard = self.settings.shard
        return {
            **summary_entries(self.subject, golden, self.source),
            **self._lengths(),
            "shard": str(shard) if shard else None,
            "engine": self.engine.name,
            "engine_why": self.why,
            "precision": self.settings.hardware.precision,
            "processes": self.processes.count,
            "hashes": folder.identity,
            "machine": machine(self.trainer.strategy.root_device),
            "git": checkouts(network=type(self.subject.network), data=self.subject.data_class),
        }

    def _lengths(self) -> dict[str, Any]:
        """What grows with the list."""
        return {
            "faults": len(self.faults),
            "trials": len(self.trials),
            "listed": len(self.looks.listed),
            **self.looks.entries(),
        }

    def _buffer(self, folder: CampaignFiles, summary: RunSummary) -> ResultsBuffer:
        """Where the counts go: into the file, then the summary and the callbacks hear of them."""

        def stored(done: Sequence[Trial], counts: GroupCounts) -> None:
            summary.stored(done)
            for callback in self._listeners():
                callback.on_results(done, counts)

        return ResultsBuffer(folder.results, stored)

    @contextmanager
    def _told(
        self, folder: CampaignFiles, golden: GoldenRun, earlier: pd.DataFrame
    ) -> Iterator[None]:
        """Callbacks hear of the start and of the end, whatever it is."""
        record = CampaignRecord(
            self.subject.name,
            self.settings.output,
            folder.path,
            golden,
            len(golden.labels),
            len(self.trials),
            merge_trials(earlier),
            self.options,
            self.source,
            self.settings.figures,
            self.processes.rank,
        )
        listeners = self._listeners()
        try:
            for callback in listeners:
                callback.on_campaign_start(record)
            yield
        except BaseException:
            for callback in listeners:
                with suppress(OSError):  # on a full disk; the error that ended the run is told
                    callback.on_campaign_end()
            raise
        for callback in listeners:
            callback.on_campaign_end()

    def _listeners(self) -> list[CampaignCallback]:
        """Who hears of the campaign in this process."""
        found = [c for c in self.callbacks if isinstance(c, CampaignCallback)]
        return [callback for callback in found if self.processes.first or callback.everywhere]

    def _own_callbacks(self) -> list[pl.Callback]:
        callbacks = [
            own_module("callbacks", "fault_injection").FaultInjection(),
            own_module("callbacks", "scores").ScoreFiles(self.settings.save_scores),
            own_module("callbacks", "tensorboard").CampaignBoard(),
        ]
        if self.settings.progress is not None:
            progress = own_module("callbacks", "progress")
            callbacks.append(progress.CampaignProgress(self.settings.progress))
        return callbacks


def grouped(todo: Sequence[Trial], size: int) -> Iterator[Sequence[Trial]]:
    """Trials in groups of ``size``, in their order."""
    for start in range(0, len(todo), size):
        yield todo[start : start + size]


def _first(counts: Mapping[str, Any], faults: int) -> GroupCounts:
    return {
        name: values.reshape(-1)[:faults].cpu().numpy().copy() for name, values in counts.items()
    }
