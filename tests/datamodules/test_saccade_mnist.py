"""SaccadeMNIST: the split, the batches and the cache."""

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from pytorch_lightning import LightningModule, Trainer

from fi.datamodules import SaccadeMNIST, saccade_mnist
from fi.datamodules.event_camera import emulate
from fi.datamodules.sparse_frames import SparseFrames, time_first


class Untrained(LightningModule):
    """Takes batches for training and does nothing with them."""

    def training_step(self, batch: object) -> None:
        del batch

    def configure_optimizers(self) -> None:
        """Have no optimizer."""


Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]


@pytest.fixture(scope="module")
def digits() -> tuple[Images, Labels]:
    return saccade_mnist.digits()


@pytest.fixture(scope="module")
def few(digits: tuple[Images, Labels]) -> tuple[Images, Labels]:
    """120 digits of each class: enough for the split, quick to emulate."""
    images, labels = digits
    chosen = np.concatenate([np.flatnonzero(labels == digit)[:120] for digit in range(10)])
    return images[chosen], labels[chosen]


@pytest.fixture(scope="module")
def data(
    few: tuple[Images, Labels], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SaccadeMNIST]:
    """The datamodule on 1,200 digits: 1,000 for the test, 180 to train, 20 to validate."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(saccade_mnist, "digits", lambda: few)
        module = SaccadeMNIST(
            tmp_path_factory.mktemp("cache"), num_steps=6, batch_size=70, validation=20
        )
        module.prepare_data()
        module.setup("test")
        yield module


@pytest.fixture
def twenty(few: tuple[Images, Labels], monkeypatch: pytest.MonkeyPatch) -> tuple[Images, Labels]:
    """The cache's digits are 20 only."""
    images, labels = few[0][::60], few[1][::60]
    monkeypatch.setattr(saccade_mnist, "digits", lambda: (images, labels))
    return images, labels


def test_split_is_fixed_disjoint_and_stratified(digits: tuple[Images, Labels]) -> None:
    labels = digits[1]
    parts = saccade_mnist.split(labels, 400)
    assert {name: len(part) for name, part in parts.items()} == {
        "train": 3600,
        "validation": 400,
        "test": 1000,
    }
    assert np.array_equal(np.sort(np.concatenate(list(parts.values()))), np.arange(5000))
    for part in parts.values():
        assert (np.bincount(labels[part]) == len(part) // 10).all()
    again = saccade_mnist.split(labels, 10)
    assert np.array_equal(again["test"], parts["test"])
    assert parts["test"][:3].tolist() == [4334, 2025, 1949]


def test_any_first_test_samples_mix_the_classes(digits: tuple[Images, Labels]) -> None:
    labels = digits[1][saccade_mnist.split(digits[1], 400)["test"]].reshape(100, 10)
    assert (np.sort(labels, axis=1) == np.arange(10)).all()
    assert len(np.unique(labels, axis=0)) > 90


@pytest.mark.parametrize("validation", [0, 15, 4000, -10])
def test_split_names_an_impossible_validation(
    digits: tuple[Images, Labels], validation: int
) -> None:
    with pytest.raises(ValueError, match=f"10..3990, got {validation}"):
        saccade_mnist.split(digits[1], validation)


def test_samples_for_training_are_those_of_the_split(
    data: SaccadeMNIST, few: tuple[Images, Labels]
) -> None:
    data.setup("fit")
    for name, chosen in saccade_mnist.split(few[1], data.validation).items():
        held = data._splits[name]
        assert np.array_equal(held.labels, few[1][chosen])
        expected = emulate(few[0][chosen[-1:]], 6, data.threshold)[0]
        assert np.array_equal(held.frames.frames(len(chosen) - 1), expected)


@pytest.mark.filterwarnings("ignore")  # Lightning's, of a module that learns nothing
def test_a_trainer_that_trains_prepares_what_it_trains_on(
    few: tuple[Images, Labels], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saccade_mnist, "digits", lambda: few)
    data = SaccadeMNIST(tmp_path, num_steps=6, validation=20)
    trainer = Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_model_summary=False,
        enable_progress_bar=False, max_epochs=1,
    )  # fmt: skip
    trainer.fit(Untrained(), datamodule=data)
    assert list(tmp_path.iterdir()) == [data.cache_file("training")]


def test_batches_are_time_first_counts(data: SaccadeMNIST) -> None:
    events, labels = next(iter(data.test_dataloader()))
    assert events.shape == (6, 70, *data.input_shape)
    assert (events.dtype, labels.dtype) == (torch.float32, torch.int64)
    assert labels.unique().tolist() == list(range(data.num_classes))
    assert events.max() > 1
    assert torch.equal(events, events.round())


@pytest.mark.parametrize(("name", "size"), [("train", 180), ("val", 20), ("test", 1000)])
def test_no_sample_is_lost_by_an_awkward_batch_size(
    data: SaccadeMNIST, name: str, size: int
) -> None:
    batches = list(getattr(data, f"{name}_dataloader")())
    assert [len(labels) for _, labels in batches[:-1]] == [70] * (size // 70)
    labels = torch.cat([labels for _, labels in batches])
    assert torch.bincount(labels).tolist() == [size // 10] * 10
    assert sum(events.shape[1] for events, _ in batches) == size


def test_a_sample_holds_the_events_of_its_digit(
    data: SaccadeMNIST, few: tuple[Images, Labels]
) -> None:
    index = saccade_mnist.split(few[1], 20)["test"][:70]
    events, labels = next(iter(data.test_dataloader()))
    expected = emulate(few[0][index], 6, data.threshold).swapaxes(0, 1)
    assert np.array_equal(events.numpy(), expected)
    assert np.array_equal(labels.numpy(), few[1][index])


def test_a_batch_is_its_samples_time_first(data: SaccadeMNIST) -> None:
    samples = data._splits["test"]
    *_, last = data.test_dataloader()
    stacked = time_first([samples[item] for item in range(980, 1000)])
    for one, other in zip(last, stacked, strict=True):
        assert torch.equal(one, other)
        assert (one.dtype, one.stride()) == (other.dtype, other.stride())


def test_only_what_is_asked_for_is_kept(
    few: tuple[Images, Labels], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saccade_mnist, "digits", lambda: few)
    data = SaccadeMNIST(tmp_path, num_steps=6, validation=20)
    data.prepare_data()
    test = data.cache_file("test")
    assert list(tmp_path.iterdir()) == [test]
    data.setup("test")
    assert [len(part.frames) for part in data._splits.values()] == [1000]
    assert list(tmp_path.iterdir()) == [test]  # the others are four times as many
    data.setup("fit")
    assert sorted(len(part.frames) for part in data._splits.values()) == [20, 180, 1000]


def test_training_order_follows_from_the_seed(data: SaccadeMNIST) -> None:
    def order() -> list[list[int]]:
        loader = data.train_dataloader()
        return [torch.cat([labels for _, labels in loader]).tolist() for _ in range(2)]

    first, again = order(), order()
    assert first == again
    assert first[0] != first[1]


def test_workers_give_the_same_batches(data: SaccadeMNIST) -> None:
    expected = [labels for _, labels in data.test_dataloader()]
    data.num_workers = 1
    try:
        got = [labels for _, labels in data.test_dataloader()]
    finally:
        data.num_workers = 0
    assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))


def test_cache_is_reused(
    twenty: tuple[Images, Labels], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "new" / "folder" / "cache.npz"
    built, _ = saccade_mnist.cached(file, "test", 6, 0.18)
    monkeypatch.setattr(saccade_mnist, "record", None)
    loaded, labels = saccade_mnist.cached(file, "test", 6, 0.18)
    assert_same(loaded, built)
    assert np.array_equal(labels, twenty[1][saccade_mnist.assign(twenty[1])["test"]])
    assert list(file.parent.iterdir()) == [file]


def damages(content: bytes) -> Iterator[bytes]:
    """The file empty, cut short, overwritten in the middle, and something else altogether."""
    yield b""
    yield content[: len(content) // 2]
    middle = len(content) // 2
    yield (
        content[:middle]
        + bytes(255 - byte for byte in content[middle : middle + 9])
        + content[middle + 9 :]
    )
    yield b"events"


@pytest.mark.usefixtures("twenty")
def test_damaged_cache_is_rebuilt_with_a_warning(tmp_path: Path) -> None:
    file = tmp_path / "cache.npz"
    built, _ = saccade_mnist.cached(file, "test", 6, 0.18)
    content = file.read_bytes()
    for damaged in damages(content):
        file.write_bytes(damaged)
        with pytest.warns(UserWarning, match=r"cache.npz is damaged .* made again"):
            assert_same(saccade_mnist.cached(file, "test", 6, 0.18)[0], built)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert_same(saccade_mnist.cached(file, "test", 6, 0.18)[0], built)


@pytest.mark.usefixtures("twenty")
def test_a_killed_run_leaves_no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(path: Path, **arrays: object) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez", killed)
    with pytest.raises(KeyboardInterrupt):
        saccade_mnist.cached(tmp_path / "cache.npz", "test", 6, 0.18)
    assert list(tmp_path.iterdir()) == []


def test_cache_file_name_carries_every_parameter(tmp_path: Path) -> None:
    modules = [
        SaccadeMNIST(tmp_path),
        SaccadeMNIST(tmp_path, num_steps=100),
        SaccadeMNIST(tmp_path, threshold=0.1800001),
    ]
    files = [module.cache_file(part) for module in modules for part in saccade_mnist.PARTS]
    assert len(set(files)) == 6
    assert SaccadeMNIST(tmp_path, batch_size=3, seed=4).cache_file("test") == files[0]


def assert_same(one: SparseFrames, other: SparseFrames) -> None:
    assert one.shape == other.shape
    for name in ("starts", "cells", "counts"):
        assert np.array_equal(getattr(one, name), getattr(other, name))
