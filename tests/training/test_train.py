"""Training: ``fi.train`` and what it is made of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import snntorch as snn
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from fi.base.errors import UserError
from fi.models import CSNN, NMNIST
from fi.network.checkpoint import load_checkpoint
from fi.network.readouts import MaxMembrane
from fi.train import main
from fi.training.evaluation import measure_accuracy
from fi.training.firing import measure_firing_rates
from fi.training.fitting import fit, save_weights
from fi.training.module import Training, keep_in_bounds, shift_frames
from fi.training.recipe import Recipe, default_recipe

Loader = DataLoader[tuple[Tensor, Tensor]]
STEPS, CLASSES, SIZE = 5, 2, 8


def batch(seed: int, samples: int = 8) -> tuple[Tensor, Tensor]:
    """Events in the left half are class 0, in the right half class 1."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.arange(samples) % CLASSES
    events = torch.poisson(torch.full((STEPS, samples, 2, SIZE, SIZE), 0.5), generator=draw)
    events[:, labels == 0, ..., SIZE // 2 :] = 0
    events[:, labels == 1, ..., : SIZE // 2] = 0
    return events, labels


class Halves:
    """A user's datamodule: no more than it must have."""

    def setup(self, stage: str) -> None:
        self.batches = [batch(seed) for seed in range(6)]

    def train_dataloader(self) -> Loader:
        return DataLoader(self.batches[:3], batch_size=None)

    def test_dataloader(self) -> Loader:
        return DataLoader(self.batches[3:], batch_size=None)


class ValidatedHalves(Halves):
    def val_dataloader(self) -> Loader:
        return self.test_dataloader()


def tiny(seed: int = 0) -> NMNIST:
    torch.manual_seed(seed)
    return NMNIST((2, SIZE, SIZE), CLASSES, hidden=6, resize=None)


def trained(
    folder: Path, data: Any = None, network: nn.Module | None = None, **recipe: Any
) -> tuple[Training, dict[str, float]]:
    """A network after ``fit``, on one CPU process without a bar."""
    module = Training(
        network or tiny(), Recipe(**{"epochs": 1, "lr": 3e-2, "temperature": 1.0} | recipe)
    )
    data = ValidatedHalves() if data is None else data
    return module, fit(module, data, folder, progress=False, accelerator="cpu")


def weights(module: Training) -> list[Tensor]:
    return [value.clone() for value in module.network.state_dict().values()]


def same(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_the_same_seed_gives_the_same_weights(tmp_path: Path) -> None:
    first, again, other = (
        weights(trained(tmp_path / str(number), seed=seed, shift=1)[0])
        for number, seed in enumerate([1, 1, 2])
    )
    assert same(first, again)
    assert not same(first, other)
    assert not same(first, list(tiny().state_dict().values()))


def test_training_learns_and_ends_with_the_best_epoch(tmp_path: Path) -> None:
    data = ValidatedHalves()
    untrained = Training(tiny(), Recipe())
    data.setup("fit")
    before = measure_accuracy(untrained, data.val_dataloader())
    module, found = trained(tmp_path, data, epochs=8)
    assert found["best_val_accuracy"] > max(before, 0.8)
    assert measure_accuracy(module, data.val_dataloader()) == pytest.approx(
        found["best_val_accuracy"]
    )


def test_the_best_epoch_is_kept_where_a_later_one_is_worse(tmp_path: Path) -> None:
    class Spoiled(Training):
        def on_train_batch_end(self, *args: Any) -> None:
            if self.current_epoch == 7:
                nn.init.zeros_(self.network.fc1.weight)

        def on_train_epoch_end(self) -> None:
            epochs.append(weights(self))

    epochs: list[list[Tensor]] = []
    module = Spoiled(tiny(), Recipe(epochs=8, lr=3e-2, temperature=1.0))
    found = fit(module, ValidatedHalves(), tmp_path, progress=False, accelerator="cpu")
    assert found["best_val_accuracy"] > found["val_accuracy"]
    assert [same(weights(module), each) for each in epochs].count(True) == 1
    assert not same(weights(module), epochs[-1])
    again = tiny(1)
    load_checkpoint(again, tmp_path / "best.ckpt")
    assert same(list(again.state_dict().values()), weights(module))


def test_without_validation_the_last_epoch_is_kept(tmp_path: Path) -> None:
    module, found = trained(tmp_path, Halves(), epochs=2)
    assert "best_val_accuracy" not in found
    assert not same(weights(module), list(tiny().state_dict().values()))


def test_neurons_stay_physical_and_what_they_do_not_learn_stays() -> None:
    network = tiny()
    network.lif2 = snn.Leaky(beta=1.0, threshold=0.01)
    with torch.no_grad():
        network.lif1.beta[:2] = torch.tensor([-0.5, 1.5])
        network.lif1.threshold[0] = -1.0
    keep_in_bounds(network)
    assert network.lif1.beta.tolist()[:2] == pytest.approx([0.01, 0.99])
    assert network.lif1.threshold[0].item() == pytest.approx(0.1)
    assert (float(network.lif2.beta), float(network.lif2.threshold)) == pytest.approx((1.0, 0.01))


def test_shifted_moves_each_sample_as_a_whole() -> None:
    events = torch.zeros(3, 40, 1, 7, 7)
    events[:, :, 0, 3, 3] = torch.arange(1.0, 4.0)[:, None]
    moved = shift_frames(events, 2)
    assert moved.shape == events.shape
    assert torch.equal(moved.flatten(2).amax(dim=2), events.flatten(2).amax(dim=2))
    places = moved.flatten(2).argmax(dim=2)
    assert (places == places[0]).all()
    assert 10 < places[0].unique().numel() <= 25
    assert shift_frames(events, 0) is events
    with pytest.raises(UserError, match=r"--shift 1: only frames .* \[3, 2, 700\]"):
        shift_frames(torch.zeros(3, 2, 700), 1)


class WithoutTraining(pl.LightningDataModule):
    def test_dataloader(self) -> Loader:
        return DataLoader([batch(0)], batch_size=None)


class LabelsFromOne(Halves):
    def train_dataloader(self) -> Loader:
        return DataLoader([(x, y + 1) for x, y in self.batches], batch_size=None)


class OnePolarity(Halves):
    def train_dataloader(self) -> Loader:
        return DataLoader([(x[:, :, :1], y) for x, y in self.batches], batch_size=None)


class TwoLoaders(Halves):
    def train_dataloader(self) -> Any:
        return [super().train_dataloader()] * 2


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (WithoutTraining(), "WithoutTraining has no train_dataloader"),
        (LabelsFromOne(), r"NMNIST has 2 classes, but the labels of LabelsFromOne lie in 1\.\.2"),
        (TwoLoaders(), "TwoLoaders: train_dataloader must give one loader, not 2"),
        (OnePolarity(), r"NMNIST cannot take the events of OnePolarity.*\[5, 8, 1, 8, 8\]"),
    ],
)
def test_data_that_does_not_suit_is_an_error(data: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        trained(tmp_path / "run", data)
    assert not (tmp_path / "run").exists()


def test_a_diverging_training_is_an_error(tmp_path: Path) -> None:
    network = tiny()
    network.readout = MaxMembrane()
    nn.init.constant_(network.fc2.bias, float("nan"))
    with pytest.raises(UserError, match=r"training diverged: the loss is nan in epoch 0, batch 0"):
        trained(tmp_path, network=network)


class Foreign(nn.Module):
    """A user's network with a forward of its own, ``[time, batch, classes]`` spikes."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(2 * SIZE * SIZE, CLASSES)
        self.lif = snn.Leaky(beta=0.8, init_hidden=True)

    def forward(self, events: Tensor) -> Tensor:
        return torch.stack([self.lif(self.fc(step.flatten(1))) for step in events])


def test_a_network_with_a_forward_of_its_own_is_trained(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module, found = trained(tmp_path, network=Foreign(), epochs=4)
    assert found["best_val_accuracy"] > 0.8
    save_weights(module.network, tmp_path / "weights.pt")
    load_checkpoint(Foreign(), tmp_path / "weights.pt")


def test_firing_rates_are_spikes_per_neuron_and_step() -> None:
    network = tiny()
    with torch.no_grad():
        for layer in (network.fc1, network.fc2):
            layer.weight.zero_()
            layer.bias.fill_(2.0)
        network.fc1.bias[0] = -1.0
    rates = measure_firing_rates(network, network, [batch(0), batch(1, samples=4)])
    assert rates["lif1"].tolist() == pytest.approx([0, 1, 1, 1, 1, 1])
    assert rates["lif2"].tolist() == pytest.approx([1, 1])
    assert not network.lif1._forward_hooks


def test_a_rate_penalty_makes_neurons_fire_less(tmp_path: Path) -> None:
    data = Halves()
    data.setup("test")
    rates = []
    for penalty in (0.0, 20.0):
        module, _ = trained(tmp_path, epochs=8, rate_penalty=penalty)
        found = measure_firing_rates(module.network, module.logits, data.test_dataloader())
        rates.append(torch.stack([rate.square().mean() for rate in found.values()]).sum())
    assert rates[1] < 0.8 * rates[0]


def test_a_network_may_bring_its_own_recipe() -> None:
    assert default_recipe(CSNN) == Recipe(**CSNN.default_training) != Recipe()
    assert default_recipe(Foreign) == Recipe()


def command(folder: Path, *options: str) -> int:
    here = f"{Path(__file__)}:ValidatedHalves"
    sizes = ["--model.input_shape", f"[2,{SIZE},{SIZE}]", "--model.resize", str(SIZE)]
    sizes += ["--model.num_classes", str(CLASSES), "--model.hidden", "6"]
    start = ["--model", "NMNIST", "--data", here, "--accelerator", "cpu", "--output", str(folder)]
    return main([*start, *sizes, *options])


def test_the_command_writes_plain_weights_and_a_config_that_replays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(tmp_path / "one", "--epochs", "2", "--lr", "0.01", "--seed", "3") == 0
    folder = tmp_path / "one" / "NMNIST" / "training" / "seed3"
    printed = capsys.readouterr().out
    assert "Test accuracy" in printed
    assert "lif1 fires at" in printed
    assert f"Weights in {folder / 'weights.pt'}" in printed.replace("\n", "")
    state = torch.load(folder / "weights.pt", weights_only=True)
    assert state["fc1.weight"].shape == (6, 2 * SIZE * SIZE)

    saved = tmp_path / "elsewhere" / "mine.pt"
    replay = ["--config", str(folder / "config.yaml"), "--output", str(tmp_path / "two")]
    assert main([*replay, "--save", str(saved), "--quiet"]) == 0
    again = torch.load(saved, weights_only=True)
    assert list(again) == list(state)
    assert same(list(state.values()), list(again.values()))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["--epochs", "0"], "--epochs 0: wanted is an int above 0"),
        (["--epochs", "many"], "--epochs many: wanted is an int above 0"),
        (["--lr", "-1"], "--lr -1: wanted is a number above 0"),
        (["--model", "Nope"], "unknown model 'Nope'"),
        (["--strategy", "nope"], "nope"),
    ],
)
def test_wrong_options_are_one_line_and_status_2(
    wrong: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(tmp_path / "run", *wrong) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert said in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("--readout scores", "--readout scores is for networks that are no SpikingNetwork"),
        ("--time-axis 1", "--time-axis 1 is for networks that are no SpikingNetwork"),
    ],
)
def test_options_that_it_would_not_heed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], given: str, message: str
) -> None:
    assert main(["--model", "NMNIST", "--output", str(tmp_path), *given.split()]) == 2
    assert message in capsys.readouterr().err


def test_a_rate_of_neurons_that_learn_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fixed.py").write_text(
        "import snntorch as snn\nfrom torch import nn\n"
        "class Fixed(nn.Sequential):\n"
        "    def __init__(self):\n"
        "        super().__init__(nn.Linear(4, 3), snn.Leaky(0.9, init_hidden=True))\n"
    )
    monkeypatch.chdir(tmp_path)
    given = ["--model", "./fixed.py:Fixed", "--data", "RandomEvents", "--data.shape", "[4]"]
    assert main([*given, "--neuron-lr", "0.5"]) == 2
    assert "--neuron-lr 0.5: no beta or threshold of Fixed is learnt" in capsys.readouterr().err
