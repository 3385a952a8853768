"""A drawn network through the tool and through the oracle: right, refused, or what is wrong."""

from __future__ import annotations

import importlib.util
import io
import os
import random
import re
import shutil
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import snntorch
import torch
from network_grammar import DrawnNetwork, draw_network
from oracle import COUNTS, ModuleOracle, Outcomes
from torch import nn

from fi.base.errors import UserError
from fi.callbacks import standard_callbacks
from fi.campaign.runner import Campaign
from fi.campaign.settings import Hardware, Settings
from fi.campaign.subject import Subject
from fi.faults.fault import Fault
from fi.faults.fault_sites import Kind, SiteFamily
from fi.test import main

ENGINES = ("full", "auto")
#: Rows of the results by injection.
Counts = dict[int, dict[str, Any]]

#: Bits of a float32 word that faults prefer: others are nearly always masked.
TELLING = (31, 30, 29, 28, 27, 26, 25, 24, 23, 22, 21)


@dataclass
class Verdict:
    """What became of one network.

    Attributes:
        kind: ``right``, ``refused``, ``wrong`` or ``crashed``.
        said: why, in one line.
        source: of the network.
        faults, affected: how many ran, and how many of these were not masked everywhere.
        transient_refused: the reason for which only permanent faults ran, if so.
        taken_over: why the full engine took over before the first fault, if so.
    """

    kind: str
    said: str
    network: DrawnNetwork
    faults: int = 0
    affected: int = 0
    transient_refused: str = ""
    taken_over: str = ""
    details: str = ""
    engines: list[str] = field(default_factory=list)


def load_module(source: str, folder: Path, name: str) -> ModuleType:
    """The module of that source, from a file, as a user has it."""
    path = folder / f"{name}.py"
    path.write_text(source)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def try_network(
    network: DrawnNetwork,
    each: int = 2,
    most: int = 40,
    engines: Sequence[str] = ENGINES,
    transient: bool = True,
) -> Verdict:
    """Run both engines and the oracle on faults of all families.

    Args:
        network: that is tried.
        each: permanent faults of each family, and transient ones.
        most: faults in all, drawn from these.
        engines: that run them.
        transient: whether there are transient faults.
    """
    folder = Path(tempfile.mkdtemp(prefix="network"))
    name = f"drawn_{network.seed}_{folder.name}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = load_module(network.source, folder, name)
            return _Trial(network, module, folder, each, most, transient).run(engines)
    finally:
        sys.modules.pop(name, None)
        snntorch.SpikingNeuron.instances.clear()  # snnTorch keeps every neuron ever made
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """``folder`` as the current one while the context lasts."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


class _Ended(Exception):
    """The verdict is there."""

    def __init__(self, kind: str, said: str, details: str = "") -> None:
        super().__init__(said)
        self.kind, self.said, self.details = kind, said, details


class _Trial:
    """One network, its oracle and its faults."""

    def __init__(
        self,
        network: DrawnNetwork,
        module: ModuleType,
        folder: Path,
        each: int,
        most: int,
        transient: bool,
    ) -> None:
        self.network, self.module, self.folder = network, module, folder
        self.transient = transient
        self.each, self.most = each, most
        self.verdict = Verdict("right", "", network)
        self.wanted: dict[Fault, Outcomes] = {}

    def run(self, engines: Sequence[str]) -> Verdict:
        verdict = self.verdict
        try:
            for engine in engines:
                self._run_engine(engine)
        except _Ended as end:
            verdict.kind, verdict.said, verdict.details = end.kind, end.said, end.details
        if verdict.kind == "refused":
            self._check_command()
        if self.network.random and verdict.kind == "right":
            verdict.kind, verdict.said = "wrong", "not reproducible, but not refused"
        return verdict

    def _run_engine(self, engine: str) -> None:
        subject = self._guard("subject", self._make_subject)
        families = subject.sites
        faults = self._draw_faults(families, subject.steps)
        while True:
            try:
                counts = self._campaign(subject, faults, engine)
                break
            except _Ended as refusal:
                faults = self._leave_out(refusal, faults)
                subject = self._guard("subject", self._make_subject)
        if counts is None:
            return
        self._check_sites(families)
        self._compare(engine, faults, counts, {family.name: family.width for family in families})

    def _leave_out(self, refusal: _Ended, faults: list[Fault]) -> list[Fault]:
        """What is left after a refusal of transient faults in one family, or in all."""
        family = re.search(r"no fault in (\S+) can last for some steps", refusal.said)
        left = [
            fault
            for fault in faults
            if fault.steps is None or (family is not None and fault.layer != family[1])
        ]
        if refusal.kind != "refused" or len(left) == len(faults):
            raise refusal
        self.verdict.transient_refused = refusal.said
        return left

    def _make_subject(self) -> Subject:
        network: nn.Module = self.module.Net()
        return Subject(network, self.module.Data(), time_axis=self.network.time_axis or "auto")

    def _guard(self, where: str, work: Callable[[], Any]) -> Any:
        """What ``work`` gives; the user's error is a refusal, any other a crash."""
        try:
            return work()
        except UserError as error:
            self._check_refusal(str(error))
            raise _Ended("refused", f"{where}: {error}") from error
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            raise _Ended(
                "crashed",
                f"{where}: {type(error).__name__}: {' '.join(str(error).split())[:200]} "
                f"({Path(place.filename).name}:{place.lineno})",
                traceback.format_exc(limit=-6),
            ) from error

    def _check_refusal(self, message: str) -> None:
        if "\n" in message.strip():
            raise _Ended("wrong", f"a refusal of several lines: {message!r}")
        named = {"Net", "Data", *(name for name, _ in self.module.Net().named_modules() if name)}
        words = set(re.findall(r"[A-Za-z_][\w]*", message)) | set(re.findall(r"[\w.]+", message))
        if not named & words:
            raise _Ended("wrong", f"a refusal that names nothing of the network: {message}")

    def _check_command(self) -> None:
        """The command refuses the network too: exit status 2, one line of error, no traceback."""
        file = f"./{Path(str(self.module.__file__)).name}"
        argv = ["--model", f"{file}:Net", "--data", f"{file}:Data", "--checkpoint", "none"]
        argv += ["--time-axis", "1"] if self.network.time_axis else []
        said = io.StringIO()
        with working_in(self.folder), redirect_stdout(said), redirect_stderr(said):
            status = main([*argv, "--margin", "0.3", "--no-figures", "--output", "refused"])
        text = said.getvalue()
        errors = [line for line in text.splitlines() if line.startswith("error:")]
        if status != 2 or len(errors) != 1 or "Traceback" in text:
            self.verdict.kind = "wrong"
            self.verdict.said = f"refused from Python; as a command exit {status}: {errors}"
            self.verdict.details = text

    def _campaign(self, subject: Subject, faults: list[Fault], engine: str) -> Counts | None:
        """Counts by injection; ``None`` where this engine is the full one, which has run."""
        output = Path(tempfile.mkdtemp(dir=self.folder))
        settings = Settings(
            output=output, engine=engine, progress=None, figures=False,
            hardware=Hardware(accelerator="cpu"),
        )  # fmt: skip

        def run() -> Counts | None:
            callbacks = standard_callbacks(settings)
            campaign = Campaign(
                subject, faults, settings, callbacks=callbacks, say=lambda line: None
            )
            if engine == "auto" and campaign.engine.name == "full":
                return None
            self.verdict.engines.append(campaign.engine.name)
            table = campaign.run()
            if campaign.engine.name != self.verdict.engines[-1]:
                self.verdict.taken_over = campaign.why
            return {row["Injection"]: row for row in table.to_dict("records")}

        try:
            return self._guard(f"campaign on the {engine} engine", run)
        except _Ended as end:
            stored = [path.read_text().count("\n") for path in output.glob("*/*/results.csv")]
            if end.kind == "refused" and max(stored, default=0) > 1:
                said = f"refused after {max(stored) - 1} faults had run: {end.said}"
                raise _Ended("wrong", said) from end
            raise

    def _draw_faults(self, families: Sequence[SiteFamily], steps: int) -> list[Fault]:
        """Faults of all families, permanent and transient, flips, stuck-ats and whole words."""
        choose = random.Random(f"{self.network.seed}/faults")
        faults: list[Fault] = []
        longest = max(len(events) for events, _ in self.module.batches())
        if steps > 2 * longest:
            raise _Ended("wrong", f"{steps} steps, where the events have {longest} at most")
        for transient in (False, True)[: 1 + self.transient]:
            for family in families:
                if family.kind is Kind.CIRCUIT:
                    continue  # of models of their own, which tests/faults holds against the oracle
                for _ in range(self.each if family.words else 0):
                    faults.append(_draw_fault(choose, family, transient, longest, len(faults)))
        if len(faults) > self.most:
            kept = sorted(choose.sample(range(len(faults)), self.most))
            faults = [faults[place] for place in kept]
        return [
            Fault(number, fault.layer, fault.index, fault.bits, fault.model, fault.steps)
            for number, fault in enumerate(faults)
        ]

    def _check_sites(self, families: Sequence[SiteFamily]) -> None:
        names = {family.name for family in families}
        for unread in self.network.unread:
            found = sorted(n for n in names if n == unread or n.startswith(f"{unread}."))
            if found:
                raise _Ended("wrong", f"sites of words that no inference reads: {', '.join(found)}")
        narrow = next(self.module.Net().parameters()).dtype in (torch.float16, torch.bfloat16)
        stored = [f for f in families if f.kind in (Kind.SYNAPSE, Kind.NEURON) and f.width != 16]
        if narrow and stored:
            raise _Ended("wrong", f"words of 16 bits that have {stored[0].width}: {stored[0].name}")

    def _compare(
        self, engine: str, faults: list[Fault], counts: Counts, widths: dict[str, int]
    ) -> None:
        oracle = ModuleOracle(
            self.module.Twin, self.module.batches(), self.network.time_axis, self.network.rounds
        ) if not self.wanted else self._oracle  # fmt: skip
        self._oracle = oracle
        wrong: list[str] = []
        for fault in faults:
            if fault not in self.wanted:
                try:
                    self.wanted[fault] = oracle.expected(fault, widths[fault.layer])
                except (IndexError, AttributeError, KeyError) as error:
                    raise _Ended("wrong", f"{fault}: no such site: {error}") from error
            wanted, row = self.wanted[fault], counts[fault.injection]
            off = {name: (row[name], wanted.counts[name]) for name in COUNTS
                   if row[name] != wanted.counts[name]}  # fmt: skip
            distance = sum(abs(got - own) for got, own in off.values())
            if off and distance > 4 * oracle.count_doubtful(fault, widths[fault.layer]):
                wrong.append(
                    f"{fault}: " + ", ".join(f"{n} {g} not {o}" for n, (g, o) in off.items())
                )
        self.verdict.faults = len(faults)
        self.verdict.affected = sum(
            self.wanted[fault].counts["fully_masked"] < oracle.samples for fault in faults
        )
        if wrong:
            ran = f"{engine} engine ({self.verdict.engines[-1]})"
            said = f"{ran}: {len(wrong)} of {len(faults)} faults, first {wrong[0]}"
            raise _Ended("wrong", said, "\n".join(wrong))


def _draw_fault(
    choose: random.Random, family: SiteFamily, transient: bool, steps: int, number: int
) -> Fault:
    index = tuple(choose.randrange(size) for size in family.shape)
    models = ["bit-flip"] * 6 + ["stuck-at-0", "stuck-at-1"]
    if family.kind in (Kind.SYNAPSE, Kind.SPIKE, Kind.INPUT):
        models += ["dead", "saturated"]
    if family.kind in (Kind.SYNAPSE, Kind.NEURON):
        models += ["scale:0.5"]
    models += ["stuck-value:0.5"]
    model = choose.choice(models)
    bits: tuple[int, ...] = ()
    if model in ("bit-flip", "stuck-at-0", "stuck-at-1"):
        bit = choose.choice(TELLING) if choose.random() < 0.8 else choose.randrange(32)
        bits = (max(0, bit - 32 + family.width),)
    when: range | None = None
    if transient:
        first = choose.randrange(steps)
        last = first if choose.random() < 0.7 else choose.randrange(first, steps)
        when = range(first, last + 1)
    return Fault(number, family.name, index, bits, model, when)


def shrink(network: DrawnNetwork, verdict: Verdict, **options: Any) -> Verdict:
    """The verdict on the smallest network that fails likewise: features are left out one by one.

    Args:
        network: that fails.
        verdict: on it.
        options: of ``try_network``.
    """
    dropped, best, tried = set(network.without), verdict, set[str]()
    while left := sorted(best.network.features - tried):
        tried.add(left[0])
        smaller = try_network(draw_network(network.seed, dropped | {left[0]}), **options)
        if smaller.kind == verdict.kind and _cause(smaller) == _cause(verdict):
            dropped.add(left[0])
            best = smaller
    return best


def _cause(verdict: Verdict) -> str:
    """A rough kind of failure: what was said without numbers and names."""
    if verdict.kind != "wrong":
        return re.sub(r"[\d.\[\]]+", "", verdict.said)[:80]
    return verdict.said.split(" engine")[0][:10] if "engine" in verdict.said else verdict.said[:30]
