"""Training for given faulty hardware, and under faults of groups: by hand, seeds, interruptions."""

from __future__ import annotations

import copy
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from test_faulty_training import Interrupt, Shuffled, Watch, check_first_step, weights
from test_train import ValidatedHalves, same, tiny
from torch import Tensor, nn

from fi.base.errors import UserError
from fi.faults.fault import Fault
from fi.faults.fault_list import write_fault_list
from fi.faults.fault_sites import named_words
from fi.models import NMNIST
from fi.network.checkpoint import load_checkpoint
from fi.train import main
from fi.training.drawn_faults import DrawnFaults
from fi.training.fault_map import FaultMap
from fi.training.fault_schedule import FaultSchedule
from fi.training.faulty_words import FaultyWords, TrainingFaults
from fi.training.fitting import fit
from fi.training.module import Training
from fi.training.recipe import Recipe

#: Some words are large, one has two faults, one bit is stuck as it is.
CHIP = [
    *(Fault(7, "fc1.weight", (neuron, 5), bits=30) for neuron in range(3)),
    Fault(7, "fc2.weight", (1, 4), bits=(24, 25), model="stuck-at-1"),
    Fault(7, "fc2.weight", (1, 4), bits=31),
    Fault(7, "fc2.weight", (0, 2), bits=0, model="stuck-at-0"),
    Fault(7, "lif1.beta", (3,), bits=22),
]


def write_chip(folder: Path, faults: Sequence[Fault] = CHIP) -> Path:
    write_fault_list(folder / "chip.csv", faults)
    return folder / "chip.csv"


def train(
    folder: Path,
    make: Any,
    callbacks: tuple[pl.Callback, ...] = (),
    resume: bool = False,
    epochs: int = 1,
    data: Any = None,
) -> tuple[Training, FaultyWords, dict[str, float]]:
    network = tiny()
    faults: TrainingFaults = make(network)
    faulty = FaultyWords(network, faults)
    module = Training(network, Recipe(epochs=epochs, lr=3e-2, temperature=1.0), under_faults=True)
    options: dict[str, Any] = {"callbacks": (faulty, *callbacks), "resume": resume}
    options |= {"keep_last": not isinstance(faults, FaultMap), "accelerator": "cpu"}
    found = fit(module, data or ValidatedHalves(), folder, progress=False, **options)
    return module, faulty, found


def read_bits(word: Tensor) -> int:
    return int(struct.unpack("<I", struct.pack("<f", float(word)))[0])


def spoil_by_hand(network: nn.Module, faults: Sequence[Fault]) -> nn.Module:
    """A copy whose words have the faults, one bit after another, with ``struct``."""
    faulted = copy.deepcopy(network)
    words = named_words(faulted)
    for fault in faults:
        tensor = words[fault.layer].data
        pattern = read_bits(tensor[fault.index])
        for bit in fault.bits:
            one = 1 << bit
            pattern = {
                "bit-flip": pattern ^ one,
                "stuck-at-1": pattern | one,
                "stuck-at-0": pattern & ~one,
            }[fault.model]
        tensor[fault.index] = struct.unpack("<f", struct.pack("<I", pattern))[0]
    return faulted


def test_a_step_is_that_of_a_network_with_the_faults_of_the_map(tmp_path: Path) -> None:
    seen, path = Watch(), write_chip(tmp_path)
    train(tmp_path, lambda network: FaultMap(network, path), (seen,))
    faulted = spoil_by_hand(tiny(), CHIP)
    assert float(faulted.fc1.weight.detach().max()) > 1e30
    check_first_step(seen, faulted)


def test_every_step_has_the_faults_and_what_is_judged_too(tmp_path: Path) -> None:
    path, judged = write_chip(tmp_path), list[float]()

    class Look(pl.Callback):
        def on_train_batch_start(self, trainer: pl.Trainer, module: Any, *args: Any) -> None:
            self._check(module)

        def on_validation_batch_start(self, trainer: pl.Trainer, module: Any, *args: Any) -> None:
            self._check(module)

        def _check(self, module: Any) -> None:
            assert float(module.network.fc1.weight.detach()[0, 5].abs()) > 1e30
            judged.append(1.0)

    module, _, found = train(tmp_path, lambda net: FaultMap(net, path), (Look(),), epochs=3)
    assert len(judged) == 3 * (3 + 3)
    assert all(bool(value.abs().max() < 1e3) for value in weights(module))
    faulted = Training(spoil_by_hand(module.network, CHIP), Recipe())
    data = ValidatedHalves()
    data.setup("test")
    right = [
        (faulted.logits(events).argmax(1) == labels).float().mean()
        for events, labels in data.test_dataloader()
    ]
    assert float(torch.stack(right).mean()) == pytest.approx(found["best_val_accuracy"])


def test_groups_are_hit_whole(tmp_path: Path) -> None:
    schedule = FaultSchedule((0.05,), bits=(22, 31), sites=("fc1.weight",), group="row", seed=3)
    seen = Watch()
    _, faulty, _ = train(tmp_path, lambda network: DrawnFaults(network, schedule), (seen,))
    drawn = faulty.faults
    assert isinstance(drawn, DrawnFaults)
    assert drawn.space.size == 6 * 2  # rows, bits
    hits = drawn.draw(0, 3)
    words = [fault for family in hits for fault in family.faults(0, None)]
    rows = {(fault.index[0], fault.bits) for fault in words}
    width = tiny().fc1.weight.shape[1]
    assert len(words) == len(rows) * width > 0
    assert {fault.index for fault in words} == {(r, n) for r, _ in rows for n in range(width)}
    check_first_step(seen, spoil_by_hand(tiny(), words))


def test_without_a_rate_each_step_has_one_group(tmp_path: Path) -> None:
    schedule = FaultSchedule((), sites=("*.weight",), group="column", seed=3)
    drawn = DrawnFaults(tiny(), schedule)
    steps = [drawn.draw(step, 6) for step in range(6)]
    sizes = {"fc1.weight": 6, "fc2.weight": 2}
    for (hits,) in steps:
        faults = list(hits.faults(0, None))
        assert len(faults) == sizes[hits.family.name]
        assert len({(fault.index[1], fault.bits) for fault in faults}) == 1
    assert len({str(list(hits.faults(0, None))) for (hits,) in steps}) > 3
    module, faulty, _ = train(tmp_path / "a", lambda network: DrawnFaults(network, schedule))
    again, _, _ = train(tmp_path / "b", lambda network: DrawnFaults(network, schedule))
    assert same(weights(module), weights(again))
    assert "bits of column groups one a step; " in faulty.describe()


@pytest.mark.parametrize("kind", ["map", "group"])
def test_an_interrupted_training_goes_on_to_the_same_weights(kind: str, tmp_path: Path) -> None:
    path = write_chip(tmp_path)
    schedule = FaultSchedule((), sites=("*.weight",), group="row")

    def make(network: NMNIST) -> TrainingFaults:
        return FaultMap(network, path) if kind == "map" else DrawnFaults(network, schedule)

    given: dict[str, Any] = {"make": make, "epochs": 4}
    whole, counted, _ = train(tmp_path / "whole", data=Shuffled(), **given)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        train(tmp_path / "parts", callbacks=(Interrupt(2),), data=Shuffled(), **given)
    torch.manual_seed(123)
    resumed, other, _ = train(tmp_path / "parts", resume=True, data=Shuffled(), **given)
    assert same(weights(whole), weights(resumed))
    assert (counted.steps, counted.skipped) == (other.steps, other.skipped)


def test_other_faults_are_not_resumed(tmp_path: Path) -> None:
    path = write_chip(tmp_path)
    (tmp_path / "other").mkdir()
    other = write_chip(tmp_path / "other", CHIP[:1])
    train(tmp_path, lambda network: FaultMap(network, path))
    with pytest.raises(UserError, match="--resume: the training that was interrupted had other"):
        train(tmp_path, lambda network: FaultMap(network, other), resume=True, epochs=2)


NMNIST_ON_CPU = ["--model", "NMNIST", "--quiet", "--accelerator", "cpu"]


def test_the_command_tells_what_a_campaign_finds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The accuracy under the map, of fi.train and of fi.test with the weights it has written."""
    from fi.test import main as run_test

    chip = [Fault(0, "fc1.weight@neuron", (n,), bits=30) for n in range(12)]
    path, saved = write_chip(tmp_path, chip), tmp_path / "weights.pt"
    short = ["--checkpoint", "own", "--epochs", "1", "--data.validation", "3900"]
    options = [*NMNIST_ON_CPU, *short, "--save", str(saved)]
    output = ["--output", str(tmp_path / "out")]
    assert main([*options, *output, "--faults.map", str(path)]) == 0
    told = capsys.readouterr().out
    assert "Trained under the 12 faults of chip.csv, the same in each step; " in told
    under = float(told.split("Test accuracy under chip.csv ")[1].split("%")[0])
    given = [*NMNIST_ON_CPU, "--no-figures", "--fault-list", str(path)]
    assert run_test([*given, "--checkpoint", str(saved), *output]) == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if line.split()[:1] == ["all"])
    assert float(row.split()[-1]) == pytest.approx(under, abs=0.006)
    load_checkpoint(NMNIST(), saved)


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        (CHIP, ["--faults.rate", "1e-4"], "--faults.rate 1e-4: not with --faults.map"),
        (CHIP, ["--faults.group", "row"], "--faults.group row: not with --faults.map"),
        (CHIP, ["--faults.models", "stuck-at-0"], "--faults.models stuck-at-0: not with"),
        (CHIP, ["--faults.seed", "3"], "--faults.seed 3: not with --faults.map"),
        (
            [CHIP[0], Fault(8, "fc1.weight", (0, 0), 3)],
            [],
            "chip.csv has 2 trials, injections 7, 8",
        ),
        ([Fault(0, "fc1.weight", (0, 0), 3, steps=range(2, 4))], [], "allowed: permanent faults"),
        ([Fault(0, "lif1.potential", (3,), 30)], [], "chip.csv:2: unknown layer 'lif1.potential'"),
        ([Fault(0, "lif1.neuron", (3,), model="no-leak")], [], "unknown layer 'lif1.neuron'"),
        (None, ["--faults.group", "rows"], "unknown group 'rows'"),
        (None, ["--faults.group", "row", "--faults.layers", "fc9.*"], "learnt words are"),
        (
            None,
            ["--faults.group", "systolic:4x4", "--faults.layers", "*.bias"],
            "--faults.group systolic:4x4: there are none in fc1.bias, fc2.bias",
        ),
        (None, ["--faults.group", "row", "--faults.rate", "3"], "--faults.rate 3: allowed"),
    ],
)
def test_wrong_options_are_one_line(
    rows: list[Fault] | None,
    options: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = [] if rows is None else ["--faults.map", str(write_chip(tmp_path, rows))]
    assert main([*NMNIST_ON_CPU, "--output", str(tmp_path), *given, *options]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert len(told.strip().splitlines()) == 1
