"""Training under faults: a step by hand, seeds, an interruption, and what changes nothing."""

from __future__ import annotations

import copy
import struct
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from test_train import ValidatedHalves, batch, same, tiny
from torch import Tensor, nn
from torch.utils.data import DataLoader

from fi.base.errors import UserError
from fi.faults.fault_sites import named_words
from fi.faults.formats.clamps import Clamp, Clamps
from fi.faults.hits.random_numbers import HitDraw, derive_seed
from fi.train import main
from fi.training.drawn_faults import DrawnFaults
from fi.training.fault_schedule import FaultSchedule
from fi.training.faulty_words import LARGEST_NORM, FaultyWords
from fi.training.fitting import fit, save_weights
from fi.training.module import Training
from fi.training.recipe import Recipe


def train(
    folder: Path,
    schedule: FaultSchedule,
    callbacks: tuple[pl.Callback, ...] = (),
    clamps: Clamps | None = None,
    resume: bool = False,
    epochs: int = 1,
    data: Any = None,
) -> tuple[Training, FaultyWords]:
    network = tiny()
    faulty = FaultyWords(network, DrawnFaults(network, schedule), clamps)
    recipe = Recipe(epochs=epochs, lr=3e-2, temperature=1.0)
    module = Training(network, recipe, under_faults=True)
    followers = (faulty, *callbacks)
    options: dict[str, Any] = {"accelerator": "cpu", "callbacks": followers, "resume": resume}
    options["keep_last"] = True
    fit(module, data or ValidatedHalves(), folder, progress=False, **options)
    return module, faulty


def weights(module: Training) -> list[Tensor]:
    return [value.clone() for value in module.network.state_dict().values()]


def flip_by_hand(network: nn.Module, faulty: FaultyWords, rate: float, step: int) -> int:
    """Invert the bits that are drawn for a step, with ``struct``; how many there are."""
    drawn = faulty.faults
    assert isinstance(drawn, DrawnFaults)
    draw = HitDraw(derive_seed(drawn.schedule.seed, "training", step))
    words, count = named_words(network), 0
    for hits in drawn.space.draw(rate, draw):
        for fault in hits.faults(0, None):
            tensor = words[fault.layer].data
            pattern = struct.unpack("<I", struct.pack("<f", float(tensor[fault.index])))[0]
            pattern ^= 1 << fault.bits[0]
            tensor[fault.index] = struct.unpack("<f", struct.pack("<I", pattern))[0]
            count += 1
    return count


class Watch(pl.Callback):
    """What the optimizer is given in the first step."""

    def __init__(self) -> None:
        self.gradients: list[Tensor] = []
        self.words: list[Tensor] = []

    def on_before_optimizer_step(self, *args: Any) -> None:
        if not self.gradients:
            network = args[1].network
            self.gradients = [p.grad.clone() for p in network.parameters() if p.grad is not None]
            self.words = [p.detach().clone() for p in network.parameters()]


def test_a_step_is_that_of_a_network_with_flipped_words(tmp_path: Path) -> None:
    schedule, seen = FaultSchedule((0.01,), bits=tuple(range(20, 29))), Watch()
    _, faulty = train(tmp_path, schedule, (seen,))
    faulted = copy.deepcopy(tiny())
    assert flip_by_hand(faulted, faulty, 0.01, 0) > 5
    check_first_step(seen, faulted)


def check_first_step(seen: Watch, faulted: nn.Module) -> None:
    """The gradients are those of ``faulted``, cut; the stored words those of the plain network."""
    loss, _ = Training(faulted, Recipe(lr=3e-2, temperature=1.0)).loss(*batch(0))
    loss.backward()
    given = [p.grad.double() for p in faulted.parameters() if p.grad is not None]
    cut = [torch.where(g.isfinite(), g, 0.0).clamp(-LARGEST_NORM, LARGEST_NORM) for g in given]
    norm = sum(float(g.square().sum()) for g in cut) ** 0.5
    for found, other in zip(seen.gradients, cut, strict=True):
        torch.testing.assert_close(found, (other * min(1.0, LARGEST_NORM / norm)).float())
    assert any(bool(gradient.any()) for gradient in seen.gradients)
    assert same(seen.words, [p.detach() for p in tiny().parameters()])  # stored words, not faulty


def test_every_step_has_other_faults_and_a_seed_the_same(tmp_path: Path) -> None:
    runs = [
        weights(train(tmp_path / name, FaultSchedule((0.002,), seed=seed))[0])
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    assert same(runs[0], runs[1])
    assert not same(runs[0], runs[2])
    space = DrawnFaults(tiny(), FaultSchedule((0.01,), seed=1)).space
    draws = [HitDraw(derive_seed(1, "training", step)) for step in range(2)]
    drawn = [[hits.word.tolist() for hits in space.draw(0.01, each)] for each in draws]
    assert drawn[0] != drawn[1]


class Interrupt(pl.Callback):
    """Ends a training as Ctrl-C does, after so many epochs."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def on_train_epoch_start(self, trainer: pl.Trainer, *args: Any) -> None:
        if trainer.current_epoch == self.epochs:
            raise KeyboardInterrupt


class Shuffled(ValidatedHalves):
    """Samples in another order in each epoch."""

    def train_dataloader(self) -> DataLoader[Any]:
        events = torch.cat([events for events, _ in self.batches[:3]], dim=1)
        labels = torch.cat([labels for _, labels in self.batches[:3]])
        samples = [(events[:, n], labels[n]) for n in range(len(labels))]
        return DataLoader(samples, batch_size=8, shuffle=True, collate_fn=collate)


def collate(samples: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    events, labels = zip(*samples, strict=True)
    return torch.stack(events, dim=1), torch.stack(labels)


def test_an_interrupted_training_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    given: dict[str, Any] = {"schedule": FaultSchedule((1e-4, 1e-3)), "epochs": 4}
    whole, _ = train(tmp_path / "whole", data=Shuffled(), **given)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        train(tmp_path / "parts", callbacks=(Interrupt(2),), data=Shuffled(), **given)
    torch.manual_seed(123)
    resumed, _ = train(tmp_path / "parts", resume=True, data=Shuffled(), **given)
    assert same(weights(whole), weights(resumed))


def test_nothing_to_resume(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--resume: .*last\.ckpt is not there"):
        train(tmp_path, FaultSchedule((1e-4,)), resume=True)


def test_gradients_that_are_not_finite_change_nothing(tmp_path: Path) -> None:
    module, faulty = train(tmp_path, FaultSchedule((0.3,), bits=(28, 29, 30)))
    assert all(bool(value.isfinite().all()) for value in weights(module))
    assert 0 < faulty.skipped <= faulty.steps == 3


def test_clamped_words_read_within_bounds_and_stay_there(tmp_path: Path) -> None:
    names = ("fc1.weight", "fc2.weight")
    clamps = Clamps({name: Clamp((-0.2,), (0.1,), "zero") for name in names})
    seen: list[Tensor] = []

    class Look(pl.Callback):
        def on_before_zero_grad(self, trainer: pl.Trainer, module: Any, *args: Any) -> None:
            seen.extend(named_words(module.network)[name].detach().clone() for name in names)

    module, _ = train(tmp_path, FaultSchedule((0.05,), bits=(30,)), (Look(),), clamps)
    words = [named_words(module.network)[name].detach() for name in names]
    for tensor in [*seen, *words]:
        assert float(tensor.min()) >= -0.2000001
        assert float(tensor.max()) <= 0.1000001
    assert seen


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--faults.rate", "2"], "--faults.rate 2: allowed are numbers between 0 and 1"),
        (["--faults.rate", "1e-4", "--faults.layers", "fc9.*"], "--faults.layers fc9.*: learnt"),
        (["--faults.bits", "30"], "--faults.rate is missing"),
        (["--faults.rate", "1e-4", "--faults.models", "no-leak"], "--faults: "),
        (["--clamp", "none.yaml"], "none.yaml: no such file"),
        (["--checkpoint", "missing.pt"], "missing.pt"),
    ],
)
def test_wrong_options_are_one_line(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--model", "NMNIST", "--data", "RandomEvents", "--data.like", "NMNIST", "--quiet"]
    assert main([*given, "--accelerator", "cpu", "--output", str(tmp_path), *options]) == 2
    assert message in capsys.readouterr().err


def test_weights_to_begin_with(tmp_path: Path) -> None:
    from fi.train import load_weights

    network, other = tiny(1), tiny(2)
    save_weights(network, tmp_path / "weights.pt")
    load_weights(other, str(tmp_path / "weights.pt"))
    assert same(list(network.state_dict().values()), list(other.state_dict().values()))
    with pytest.raises(UserError, match="comes without weights"):
        load_weights(nn.Linear(2, 2), "own")
