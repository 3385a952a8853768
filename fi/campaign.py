"""A campaign: one fault list run on one network and one test set."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pytorch_lightning as pl

from fi.campaign_files import CampaignFiles
from fi.decided import Decisions, add_decided, own_share
from fi.engine.choice import choose_engine
from fi.engine.warm_up import warm_up
from fi.errors import UserError
from fi.fault_models import own_models
from fi.fault_test import FaultTest
from fi.faults import Fault, Trial, trials
from fi.golden import GoldenRun, golden_run
from fi.hashes import faults_hash, network_hash, text_hash, weights_hash
from fi.lightning_runs import Hardware, exact_arithmetic, on_gpu, run_test
from fi.metrics import FaultCounts
from fi.plugins import own_module
from fi.precision import computing_in
from fi.provenance import machine
from fi.record import CampaignCallback, CampaignRecord, GroupCounts
from fi.results_buffer import ResultsBuffer
from fi.subject import Subject
from fi.summary import ListRecord, described, recorded
from fi.table import one_row_a_trial
from fi.word_values import word_values


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


class NetworkChanged(RuntimeError):
    """A campaign did not leave the network as it was."""


class Campaign:
    """Runs a fault list.

    In a notebook: ``Campaign(Subject(network, data), faults).run()``.

    Args:
        subject: the network and its test set.
        faults: the fault list.
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
        faults: Sequence[Fault],
        settings: Settings | None = None,
        source: ListRecord | None = None,
        config: str = "",
        options: Mapping[str, Any] | None = None,
        callbacks: Sequence[pl.Callback] = (),
        say: Callable[[str], None] = print,
    ) -> None:
        if not faults:
            raise UserError("the fault list is empty")
        self.subject = subject
        self.faults = list(faults)
        self.trials = trials(self.faults)
        self.settings = settings or Settings()
        self.source = source or ListRecord()
        self.config = config
        self.options = dict(options or {})
        self.say = say
        self.callbacks = [*self._own_callbacks(), *callbacks]
        chosen = self.settings
        self.engine, self.why = choose_engine(chosen.engine, subject, chosen.memory, chosen.threads)
        self.trainer = self.settings.hardware.trainer(self.callbacks)
        self.files: CampaignFiles | None = None
        self.golden: GoldenRun | None = None

    def run(self) -> pd.DataFrame:
        """Run what is not done yet; the results of the whole list, in its order.

        Raises:
            UserError: the data or the golden run cannot be used.
            NetworkChanged: a parameter or buffer is not what it was.
            KeyboardInterrupt: Ctrl-C; what was done is stored.
        """
        with self.prepared():
            self.golden = golden = self._golden_run()
            self.files = folder = self._files(golden)
            if self.trainer.is_global_zero and self.settings.overwrite:
                folder.clear()
            earlier = folder.earlier(self.faults, repair=self.trainer.is_global_zero)
            done = set(earlier["Injection"])
            todo = [trial for trial in self.trials if trial[0].injection not in done]
            if not todo and folder.finished:
                self.say(f"finished already: {folder.path} (--overwrite runs it again)")
                return earlier
            self._announce(golden, earlier)
            self._warm_up()
            decided = self._decided(folder, todo, golden)
            with self._recorded(folder, golden, todo), self._told(folder, golden, earlier):
                self._run_groups(todo, golden, folder)
            decided()
        return folder.results.load()

    def _group_size(self, todo: Sequence[Trial]) -> int:
        """How many faults one test run takes, in all processes together."""
        return self.engine.group_size(len(todo)) * self.trainer.world_size

    def _run_groups(self, todo: Sequence[Trial], golden: GoldenRun, folder: CampaignFiles) -> None:
        """Group after group through Lightning test runs, the counts into the results file."""
        size = self._group_size(todo)
        metric = FaultCounts(min(size, len(todo)))
        test = FaultTest(self.engine, golden, metric, keep_pairs=self.settings.save_scores)
        buffer = ResultsBuffer(folder.results, self._tell_results)
        try:
            for group in grouped(todo, size):
                test.take(group, self.trainer.global_rank, self.trainer.world_size)
                run_test(self.trainer, test, self.subject.batches)
                counts = _first(metric.compute(), len(group))
                if self.trainer.is_global_zero:
                    listed = [fault for trial in group for fault in trial]
                    values = word_values(self.subject.network, listed, self.subject.families)
                    buffer.add(group, counts, values)
                metric.reset()
        finally:
            buffer.flush()

    def _decided(
        self, folder: CampaignFiles, todo: Sequence[Trial], golden: GoldenRun
    ) -> Callable[[], None]:
        """Notes in the summary how the pairs were decided; call it when all of them are."""
        before, counted = folder.decided(), Decisions(self.engine)

        def note() -> None:
            if self.trainer.is_global_zero:
                mine = own_share(len(todo), self._group_size(todo), self.trainer.world_size)
                pairs, others = mine * golden.samples, (len(todo) - mine) * golden.samples
                folder.add_to_summary(decided=add_decided(before, counted.count(pairs, others)))

        return note

    @contextmanager
    def prepared(self) -> Iterator[None]:
        """The network and torch as a campaign needs them; put back afterwards."""
        with self._network_kept(), exact_arithmetic(on_gpu(self.trainer)):
            yield

    def _warm_up(self) -> None:
        """Compile the engine's kernels where no earlier run has."""
        events, _ = self.subject.batches.first()
        if not on_gpu(self.trainer):
            warm_up(self.engine, self.subject.families, events.to(self.subject.dtype), self.say)

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
            "data": text_hash(f"{self.subject.batches.digest}{golden.digest}"),
            "faults": faults_hash(self.faults),
            "precision": self.settings.hardware.precision,
            "engine": self.engine.name,
            **self._special(),
        }
        root = self.settings.output / self.subject.name
        return CampaignFiles(root, Path(self.source.name).stem, identity)

    def _special(self) -> dict[str, str]:
        """What else the results depend on, where it is not the usual."""
        special = {}
        if self.subject.accuracy_before is not None:
            special["format"] = self.subject.word_format
        own = own_models({fault.model for fault in self.faults})
        if own:
            special["models"] = text_hash("\n".join(own))
        return special

    def _announce(self, golden: GoldenRun, earlier: pd.DataFrame) -> None:
        self.say(f"{len(self.faults)} faults of {self.source.name}; {self.why}")
        if len(earlier):
            done = earlier["Injection"].nunique()
            self.say(f"{done} faults are done already: continuing")

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

    def _recorded(
        self, folder: CampaignFiles, golden: GoldenRun, todo: Sequence[Trial]
    ) -> AbstractContextManager[None]:
        """``config.yaml`` and ``summary.json`` around the run, by the first process."""
        if not self.trainer.is_global_zero:
            return nullcontext()
        folder.write_config(self.config)
        entries = {
            **described(self.subject, golden, self.source),
            "faults": len(self.faults),
            "trials": len(self.trials),
            "engine": self.engine.name,
            "engine_why": self.why,
            "precision": self.settings.hardware.precision,
            "processes": self.trainer.world_size,
            "hashes": folder.identity,
            "machine": machine(self.trainer.strategy.root_device),
        }
        return recorded(folder, entries, len(todo) * golden.samples)

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
            one_row_a_trial(earlier),
            self.options,
            self.source,
            self.settings.figures,
        )
        listeners = self._listeners()
        try:
            for callback in listeners:
                callback.on_campaign_start(record)
            yield
        finally:
            for callback in listeners:
                callback.on_campaign_end()

    def _tell_results(self, done: Sequence[Trial], counts: GroupCounts) -> None:
        for callback in self._listeners():
            callback.on_results(done, counts)

    def _listeners(self) -> list[CampaignCallback]:
        """Who hears of the campaign: in the first process only."""
        found = [c for c in self.callbacks if isinstance(c, CampaignCallback)]
        return found if self.trainer.is_global_zero else []

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
