"""Monitors against plain loops over recorded neurons, and their table against plain counts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from campaigns import Run
from oracle import ModuleOracle, inject, neurons_of
from small_networks import PlainLinear, SmallLinear, event_batches, small
from torch import Tensor, nn

from fi import coverage as command
from fi.base.errors import UserError
from fi.campaign.subject import Subject
from fi.detection.monitor_table import write_monitors
from fi.detection.stored_pairs import StoredPairs
from fi.engine.monitors.monitor_set import MonitorSet
from fi.faults.fault import Fault
from fi.metrics.outcomes import OUTCOMES
from fi.sampling.fault_draw import draw
from fi.sampling.plan import SamplingPlan
from fi.test import main as run_test

OURS = ("output-counts", "membranes", "rates")
OWN = '''
import torch
from fi.monitors import Monitor

class FirstFires(Monitor):
    """Reports what output neuron 0 fires for more often than ever."""
    def __init__(self):
        self.most = 0
    def learn(self, activity):
        self.most = max(self.most, int(self.count(activity).max()))
    def count(self, activity):
        return activity.spikes[activity.output][..., 0].sum(0)
    def find_alarms(self, activity):
        return self.count(activity) > self.most
'''


class Data:
    """Test samples, and others to train on."""

    def train_dataloader(self) -> list[list[tuple[Tensor, Tensor]]]:
        return [event_batches((12,), samples=30, seed=5)]  # one loader

    def test_dataloader(self) -> list[tuple[Tensor, Tensor]]:
        return event_batches((12,))


def step_by_step(kind: type[nn.Module]) -> nn.Module:
    network = small(kind)
    if kind is SmallLinear:
        network.layer_by_layer = False
    return network


def record(neuron: nn.Module, spikes: list[Tensor], membranes: list[Tensor]) -> None:
    def note(module: nn.Module, args: object, out: object) -> None:
        fired = out[0] if isinstance(out, tuple) else out
        spikes.append(fired.detach().clone())
        membranes.append(module.mem.detach().clone())

    neuron.register_forward_hook(note)


class Watched:
    """Spikes and membranes of every call, ``[calls][sample]`` lists, by hooks of its own."""

    def __init__(self, kind: type[nn.Module]) -> None:
        self.oracle = ModuleOracle(lambda: step_by_step(kind), Data().test_dataloader())
        self.learner = ModuleOracle(lambda: step_by_step(kind), Data().train_dataloader()[0])

    def run(self, oracle: ModuleOracle, fault: Fault | None) -> list[dict[str, list[float]]]:
        """By sample: counts of outputs, extremes of membranes, numbers of hidden spikes."""
        found = []
        for (events, labels), calls in zip(oracle.batches, oracle.calls, strict=True):
            network = oracle._make()
            if fault is not None:
                inject(network, fault, calls)
            spikes: dict[str, list[Tensor]] = {name: [] for name in neurons_of(network)}
            membranes: dict[str, list[Tensor]] = {name: [] for name in neurons_of(network)}
            for name, neuron in neurons_of(network).items():
                record(neuron, spikes[name], membranes[name])
            oracle._infer(network, events)
            for sample in range(len(labels)):
                fired = {n: torch.stack(s)[:, sample] for n, s in spikes.items()}
                held = {n: torch.stack(m)[:, sample] for n, m in membranes.items()}
                found.append(
                    {
                        "output-counts": fired["lif2"].sum(0).tolist(),
                        "rates": [float(fired["lif1"].mean())],
                        "membranes": [
                            float(end) for m in held.values() for end in (m.min(), m.max())
                        ],
                    }
                )
        return found

    def alarms(self, fault: Fault | None, monitor: str) -> list[bool]:
        usual = [row[monitor] for row in self.run(self.learner, None)]
        low, high = (list(map(end, zip(*usual, strict=True))) for end in (min, max))
        if monitor == "membranes":  # least and largest take turns: each has one bound
            low = [a if k % 2 == 0 else -np.inf for k, a in enumerate(low)]
            high = [b if k % 2 else np.inf for k, b in enumerate(high)]
        return [
            not all(a <= v <= b for a, v, b in zip(low, row[monitor], high, strict=True))
            for row in self.run(self.oracle, fault)
        ]


def drawn(subject: Subject, every: int = 1) -> list[Fault]:
    plan = SamplingPlan(margin=0.12, models=("bit-flip", "stuck-at-1"))
    return draw(plan.space(subject.families, subject.steps), plan)[::every]


@pytest.mark.parametrize("kind", [SmallLinear, PlainLinear])
def test_alarms_are_those_of_plain_loops(campaign: Run, kind: type[nn.Module]) -> None:
    subject = Subject(small(kind), Data())
    faults = drawn(subject, every=2)
    run = campaign(subject, faults, engine="auto", monitors=MonitorSet(OURS))
    results = run.run()
    assert "monitors see membranes" in run.why
    pairs, watched = StoredPairs(run.files.path), Watched(kind)
    plain = campaign(subject, faults, engine="full", output=run.files.path / "plain").run()
    assert plain.equals(results)
    some = dict.fromkeys(OURS, 0)
    for monitor in OURS:
        usual = np.array(watched.alarms(None, monitor))
        assert pairs.head.monitors[monitor] == usual.nonzero()[0].tolist()
        counts, seen = pairs.count_alarms(monitor), pairs.detected(monitor).toarray()
        for row, fault in enumerate(faults):
            alarm = np.array(watched.alarms(fault, monitor))
            sdc = pairs.outcomes(fault.injection) == OUTCOMES.index("sdc_1")
            assert counts["detected"][row] == (alarm & sdc).sum(), fault
            assert counts["missed"][row] == (~alarm & sdc).sum(), fault
            assert counts["needless"][row] == (alarm & ~sdc).sum(), fault
            assert np.array_equal(seen[row], alarm & ~usual)
            some[monitor] += int(alarm.sum())
    assert max(some.values()) < 0.9 * len(faults) * pairs.samples
    assert sum(count > 10 for count in some.values()) >= 2, some


def test_the_table(campaign: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.py").write_text(OWN)
    subject = Subject(small(SmallLinear), Data())
    faults = drawn(subject)
    names = (*OURS, f"{tmp_path / 'mine.py'}:FirstFires")
    run = campaign(subject, faults, engine="full", monitors=MonitorSet(names))
    results = run.run()
    folder = run.files.path
    table = write_monitors(folder)
    assert table is not None
    assert table["monitor"].tolist() == [*OURS, "first-fires"]
    pairs = StoredPairs(folder)
    for row in table.to_dict("records"):
        counts = pairs.count_alarms(row["monitor"]).sum()
        total = len(faults) * pairs.samples
        assert counts["detected"] + counts["missed"] == results["sdc_1"].sum()
        for name in ("share", "detected", "undetected", "needless", "false_alarms"):
            assert row[f"{name} low"] <= row[name] <= row[f"{name} high"]
        assert row["false_alarms"] == len(pairs.head.monitors[row["monitor"]]) / pairs.samples
        assert row["share"] == pytest.approx(
            row["detected"] / (row["detected"] + row["undetected"])
        )
        assert row["undetected"] == pytest.approx(counts["missed"] / total)
        assert row["time"] > 0.5
    assert table["share"].between(0.01, 0.99).any()
    assert len(pd.read_csv(folder / "monitors.csv")) == 4
    assert command.main([str(folder), "--monitors"]) == 0
    assert "first-fires" in capsys.readouterr().out
    assert command.main([str(folder), "--samples", "2", "--detect", "membranes"]) == 0
    for other in (MonitorSet(OURS), None):
        lines = run.files.results.path.read_text().splitlines(keepends=True)
        run.files.results.path.write_text("".join(lines[:-1]))
        with pytest.raises(UserError, match="has the monitors output-counts,membranes,rates,first"):
            campaign(subject, faults, engine="full", monitors=other).run()
    whole = pairs.detected("rates").toarray()
    campaign(subject, faults, engine="full", monitors=MonitorSet(names)).run()
    assert np.array_equal(StoredPairs(folder).detected("rates").toarray(), whole)


def test_what_cannot_be_monitored(campaign: Run, subject: Subject, faults: list[Fault]) -> None:
    with pytest.raises(UserError, match="no train_dataloader"):
        campaign(subject, faults, monitors=MonitorSet(OURS)).run()
    with pytest.raises(UserError, match="--engine differential: not with --monitor"):
        campaign(subject, faults, engine="differential", monitors=MonitorSet(OURS))


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (["colour"], "--monitor colour: allowed are output-counts, membranes, rates"),
        (["rates", "rates"], "each once"),
        (["fi.faults.fault.Fault"], "Fault is no fi.monitors.Monitor"),
    ],
)
def test_names_that_are_none(names: Sequence[str], wanted: str) -> None:
    with pytest.raises(UserError, match=wanted):
        MonitorSet(names)


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        ("1 / 0", "--monitor bad: ZeroDivisionError"),
        ("activity.spikes['lif2'].sum(0)", "find_alarms gave torch.float32"),
        ("activity.spikes['lif2'].sum((0, 2)).bool()[:1]", r"wanted is bool \[10\]"),
    ],
)
def test_monitors_that_err(campaign: Run, tmp_path: Path, body: str, wanted: str) -> None:
    text = OWN.replace("self.count(activity) > self.most", body).replace("FirstFires", "Bad")
    (tmp_path / "bad.py").write_text(text)
    subject = Subject(small(SmallLinear), Data())
    monitors = MonitorSet([f"{tmp_path / 'bad.py'}:Bad"])
    with pytest.raises(UserError, match=wanted) as raised:
        campaign(subject, drawn(subject), engine="full", monitors=monitors).run()
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (["--monitor", "colour"], "--monitor colour: allowed are output-counts, membranes, rates"),
        (["--monitor", "rates", "--faults.rate", "1e-4"], "--monitor: not with --faults.rate"),
        (["--monitor", "rates", "--ecc", "secded:32"], "--monitor: not with --ecc"),
        (["--save-pairs", "colour"], "--save-pairs colour: allowed are scores, spikes"),
    ],
)
def test_options_that_are_refused(
    workplace: Path, options: list[str], wanted: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--model", "NMNIST", "--limit-samples", "4", *options]
    assert run_test(arguments) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert wanted in line
