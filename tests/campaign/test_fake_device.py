"""Campaigns on a device that enforces CUDA's rules: no GPU, but every path of the engines."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fake_device as fake
import pandas as pd
import pytest
import torch
from fake_device import DEVICE, OnDevice, fake_device
from rate_campaigns import rate_campaign
from small_networks import INPUT_SHAPES, PlainLinear, SmallConv, SmallLinear, event_batches, small
from torch import Tensor, nn

from fi.base.errors import UserError
from fi.base.usable_memory import find_usable_memory
from fi.campaign.dry_run import estimate_seconds
from fi.campaign.runner import Campaign
from fi.campaign.settings import Hardware, Settings
from fi.campaign.subject import Subject
from fi.campaign.trainer import check_device, make_trainer
from fi.faults.formats.integer_formats import Int8
from fi.sampling.fault_draw import draw
from fi.sampling.plan import SamplingPlan

STATES = ("*.potential", "*.spike", "*.weight")
PLANS = {
    "permanent": SamplingPlan(margin=0.15, models=("bit-flip", "stuck-at-1")),
    "transient": SamplingPlan(margin=0.2, transient=True, sites=STATES),
    "trials": SamplingPlan(margin=0.25, together=3),
    "transient trials": SamplingPlan(margin=0.25, together=3, transient=True, sites=STATES),
    "circuits": SamplingPlan(margin=0.3, models=("no-leak",), sites=("lif1.neuron*",)),
    "lines": SamplingPlan(margin=0.3, models=("drop:0.5",), sites=("*.spike", "input")),
    "words of channels": SamplingPlan(margin=0.25, word_format="int8-channel"),
    "scaled words of int8": SamplingPlan(margin=0.25, models=("scale:0.7",), word_format="int8"),
}
#: What is run on which network: each path of each engine once.
RUN = [
    *((SmallConv, name, "differential") for name in PLANS),
    *((SmallLinear, name, "full") for name in ("permanent", "transient trials", "circuits")),
    (PlainLinear, "permanent", "differential"),
    (PlainLinear, "trials", "full"),
]
#: Those that are not among the slow tests.
FAST = [RUN[0], RUN[3], (SmallLinear, "permanent", "full")]


def make_subject(kind: type[nn.Module], word_format: str = "float32") -> Subject:
    shape = INPUT_SHAPES.get(kind, INPUT_SHAPES[SmallLinear])
    return Subject(small(kind), event_batches(shape), word_format=word_format)


def make_campaign(
    kind: type[nn.Module], engine: str, plan: SamplingPlan, output: Path, **options: Any
) -> Campaign:
    subject = make_subject(kind, plan.word_format)
    faults = draw(plan.space(subject.sites, subject.steps), plan)
    settings = Settings(
        output, engine=engine, progress=None, figures=False, hardware=Hardware("cpu"), **options
    )
    return Campaign(subject, faults, settings, say=lambda line: None)


def check_same(found: pd.DataFrame, alone: pd.DataFrame) -> None:
    """Counts and values of words are the same, and some pairs are masked, and some not."""
    pd.testing.assert_frame_equal(found, alone)
    masked, samples = alone["fully_masked"].sum(), alone["samples"].sum()
    assert 0 < masked < samples


@pytest.mark.parametrize(
    ("kind", "name", "engine"),
    [run if run in FAST else pytest.param(*run, marks=pytest.mark.slow) for run in RUN],
)
def test_a_campaign_on_the_device_has_the_counts_of_the_cpu(
    tmp_path: Path, kind: type[nn.Module], name: str, engine: str
) -> None:
    alone = make_campaign(kind, "full", PLANS[name], tmp_path / "cpu").run()
    with fake_device():
        campaign = make_campaign(kind, engine, PLANS[name], tmp_path / "device")
        words = next(campaign.subject.network.parameters())
        found = campaign.run()
    check_same(found, alone)
    assert not isinstance(words, OnDevice)  # the network is where it was
    assert all(type(w) is nn.Parameter for w in campaign.subject.network.parameters())


def test_a_memory_with_a_code_on_the_device(tmp_path: Path) -> None:
    plan = SamplingPlan(margin=0.3, together=2, sites=("fc1.*",))
    alone = make_campaign(SmallConv, "full", plan, tmp_path / "cpu", ecc="secded:32").run()
    with fake_device():
        campaign = make_campaign(SmallConv, "differential", plan, tmp_path, ecc="secded:32")
        found = campaign.run()
    pd.testing.assert_frame_equal(found, alone)


def test_pairs_on_the_device(tmp_path: Path) -> None:
    plan = SamplingPlan(margin=0.3)
    with fake_device():
        campaign = make_campaign(SmallConv, "differential", plan, tmp_path, save_pairs=True)
        campaign.run()
    assert campaign.files.pairs.read_head().samples == campaign.golden.samples


def test_rates_on_the_device(tmp_path: Path) -> None:
    def run(output: Path) -> pd.DataFrame:
        subject = make_subject(SmallConv)
        return rate_campaign(subject, output, (0.001, 0.01), 6, engine="auto").run()

    alone = run(tmp_path / "cpu")
    with fake_device():
        found = run(tmp_path / "device")
    check_same(found, alone)


def test_devices_do_not_mix() -> None:
    with fake_device():
        there, here = torch.ones(3).to(DEVICE), torch.ones(3)
        assert there.device == DEVICE
        assert (there + 1).device == DEVICE
        for mix in (
            lambda: there + here,
            lambda: torch.cat([there, here]),
            lambda: here[there.long()],
            lambda: there.__setitem__(slice(None), here),
            lambda: here.add_(there),
            lambda: nn.functional.linear(there, torch.ones(2, 3)),
            lambda: there.numpy(),
        ):
            with pytest.raises((RuntimeError, TypeError)):
                mix()
        assert there[here.long()].device == DEVICE  # indices may be on the CPU
        assert here.copy_(there).device.type == "cpu"


@pytest.fixture
def moves(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[torch.Size]]:
    """The shapes of tensors that cross over to the device."""
    seen: list[torch.Size] = []
    move = fake.move

    def watched(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        found = move(func, args, kwargs)
        if isinstance(found, OnDevice) and not isinstance(args[0], OnDevice):
            seen.append(found.shape)
        return found

    monkeypatch.setattr(fake, "move", watched)
    return seen


def test_network_and_batches_stay_on_the_device(tmp_path: Path, moves: list[torch.Size]) -> None:
    """The full engine makes a test run for every fault, and moves nothing large for it."""
    with fake_device():
        campaign = make_campaign(SmallConv, "full", PLANS["permanent"], tmp_path)
        weights = [word.shape for word in campaign.subject.network.parameters()]
        events = {events.shape for events, _ in event_batches(INPUT_SHAPES[SmallConv])}
        moves.clear()
        campaign.run()
    assert len(campaign.trials) > 50
    assert moves.count(weights[0]) <= 2
    assert sum(shape in events for shape in moves) < 20


def test_the_budget_is_the_memory_of_the_device(tmp_path: Path) -> None:
    with fake_device(memory=4096 << 10):
        campaign = make_campaign(SmallConv, "differential", PLANS["permanent"], tmp_path)
    assert campaign.engine.memory == 1024 << 10  # type: ignore[attr-defined]  # differential
    campaign = make_campaign(SmallConv, "differential", PLANS["permanent"], tmp_path)
    assert campaign.engine.memory == find_usable_memory() // 4  # type: ignore[attr-defined]


def test_counts_are_added_up_before_the_test_run_ends(tmp_path: Path) -> None:
    """Lightning's teardown may take the metric to the CPU, where nccl has no processes."""
    from fi.campaign.fault_test import FaultTest

    with fake_device():
        campaign = make_campaign(SmallLinear, "full", PLANS["permanent"], tmp_path)
        seen: list[bool] = []
        compute = FaultTest.on_test_epoch_end

        def watched(self: FaultTest) -> None:
            compute(self)
            seen.append(all(isinstance(values, OnDevice) for values in self.found.values()))

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(FaultTest, "on_test_epoch_end", watched)
            campaign.run()
    assert len(seen) == len(campaign.trials)
    assert all(seen)


def test_words_of_int8_are_those_of_the_cpu() -> None:
    drawn = torch.rand(100_000, generator=torch.Generator().manual_seed(5)) * 2 - 1
    words = Int8.of(drawn)
    halves = (torch.arange(-127, 127) + 0.5) * words.scale  # where a last bit decides
    with fake_device():
        there = halves.to(DEVICE)
        assert torch.equal(words.encode(there).cpu(), words.encode(halves))
        assert not torch.equal((there / words.scale).round().cpu(), (halves / words.scale).round())


def test_a_network_that_is_on_a_gpu_already_is_taken_to_the_cpu(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = PLANS["permanent"]
    alone = make_campaign(SmallLinear, "full", plan, tmp_path / "cpu").run()
    with fake_device():
        network = small(SmallLinear).to(DEVICE)
        subject = Subject(network, event_batches(INPUT_SHAPES[SmallLinear]))
        faults = draw(plan.space(subject.sites, subject.steps), plan)
        hardware = Hardware("cpu")
        settings = Settings(tmp_path / "device", progress=None, figures=False, hardware=hardware)
        found = Campaign(subject, faults, settings, say=lambda line: None).run()
    assert "SmallLinear was on cuda:0: it is taken to the CPU" in capsys.readouterr().err
    check_same(found, alone)


def test_the_dry_run_times_the_device(tmp_path: Path, moves: list[torch.Size]) -> None:
    with fake_device():
        campaign = make_campaign(SmallConv, "differential", PLANS["permanent"], tmp_path)
        moves.clear()
        assert estimate_seconds(campaign) > 0
    assert any(shape in moves for shape in [e.shape for e, _ in campaign.subject.batches])


class Raising(nn.Module):
    """A network that raises in its forward as soon as it is on the device."""

    error: BaseException = RuntimeError()

    def __init__(self) -> None:
        super().__init__()
        self.net = small(PlainLinear)
        self.fc1, self.lif1 = self.net.fc1, self.net.lif1

    def forward(self, events: Tensor) -> Tensor:
        if events.is_cuda:
            raise self.error
        found: Tensor = self.net(events)
        return found


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
            r"out of memory on cuda:0: .*20.00 GiB.*; --memory SIZE gives the engine less",
        ),
        (
            RuntimeError(
                "cumsum_cuda_kernel does not have a deterministic implementation, but you set "
                "'torch.use_deterministic_algorithms(True)'."
            ),
            r"cumsum_cuda_kernel .*test_fake_device.py:\d+\) gives other bits from run to run on "
            "cuda:0: replace it in the network, or take --accelerator cpu",
        ),
    ],
    ids=["memory", "deterministic"],
)
def test_errors_of_the_device_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, message: str
) -> None:
    monkeypatch.setattr(Raising, "error", error)
    with fake_device(), pytest.raises(UserError, match=message):
        make_campaign(Raising, "full", PLANS["permanent"], tmp_path).run()


def test_an_operation_without_a_deterministic_form_is_named(tmp_path: Path) -> None:
    """PyTorch's own refusal, which does not need a GPU for this operation."""

    class Puts(Raising):
        def forward(self, events: Tensor) -> Tensor:
            scores: Tensor = self.net(events)
            if events.is_cuda:
                torch.zeros(4).put_(torch.tensor([1, 1]), torch.ones(2))
            return scores

    with fake_device(), pytest.raises(UserError, match=r"put_ .*\(.*py:\d+\) gives other bits"):
        make_campaign(Puts, "full", PLANS["permanent"], tmp_path).run()


def test_mps_is_refused() -> None:
    with pytest.raises(UserError, match="mps has no float64"):
        check_device(torch.device("mps"))


def test_auto_is_the_cpu(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    trainer = make_trainer(Hardware("auto"), [])
    assert trainer.strategy.root_device.type == "cpu"
    assert "fi.benchmark --device cuda says how fast it is here" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("start", "said"),
    [
        ("import fi", ""),
        ("import torch; torch.cuda.is_initialized = lambda: True; import fi", "Import fi first"),
    ],
    ids=["before", "after"],
)
def test_cublas_is_told_before_it_starts(start: str, said: str) -> None:
    script = f"""
{start}
import os
from fi.base.cuda_start import check_cublas
assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
check_cublas()
"""
    environment = {k: v for k, v in os.environ.items() if k != "CUBLAS_WORKSPACE_CONFIG"}
    command = [sys.executable, "-c", script]
    ended = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert (ended.returncode == 0) == (said == "")
    assert said in ended.stderr
