"""RandomEvents: noise in the shape of a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fi.datamodules import NMNIST, SHD, DVSGesture, RandomEvents
from fi.datamodules.event_frames import EventFrames
from fi.datamodules.random_events import Like
from fi.test import main


@pytest.mark.parametrize(
    ("like", "recorded"), [("NMNIST", NMNIST), ("DVSGesture", DVSGesture), ("SHD", SHD)]
)
def test_like_a_data_set(like: Like, recorded: type[EventFrames]) -> None:
    data, real = RandomEvents(like, samples=3, batch_size=2), recorded()
    assert data.input_shape == real.input_shape
    assert (data.num_steps, data.num_classes) == (real.num_steps, real.num_classes)
    batches = list(data.test_dataloader())
    assert [x.shape[1] for x, _ in batches] == [2, 1]
    assert batches[0][0].shape[2:] == real.input_shape
    assert batches[0][0].dtype == torch.float32
    assert batches[0][0].shape[0] == real.num_steps


def drawn(**options: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """All samples of small events."""
    data = RandomEvents(shape=(2, 5, 6), num_steps=7, num_classes=4, **options)
    batches = list(data.test_dataloader())
    return torch.cat([x for x, _ in batches], dim=1), torch.cat([y for _, y in batches])


def test_a_sample_depends_on_its_number_and_the_seed_only() -> None:
    events, labels = drawn(samples=9, rate=0.3)
    assert events.shape == (7, 9, 2, 5, 6)
    again, same = drawn(samples=4, rate=0.3, batch_size=3)
    assert torch.equal(again, events[:, :4])
    assert torch.equal(same, labels[:4])
    other, _ = drawn(samples=9, rate=0.3, seed=1)
    assert not torch.equal(other, events)
    assert not torch.equal(events[:, 0], events[:, 1])


def test_counts_are_poissons_and_labels_are_classes() -> None:
    events, labels = drawn(samples=200, rate=0.3)
    mean, spread = float(events.mean()), 0.3**0.5 / events.numel() ** 0.5
    assert abs(mean - 0.3) < 4 * spread
    assert abs(float(events.var()) - 0.3) < 0.02
    assert set(labels.tolist()) == set(range(4))
    assert np.array_equal(events, events.round())
    assert float(drawn(samples=2, rate=0.0)[0].sum()) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"like": "CIFAR"}, "like must be one of NMNIST, DVSGesture, SHD, got 'CIFAR'"),
        ({"shape": ()}, "must be at least 1"),
        ({"num_steps": 0}, "must be at least 1, got .*, 0, 10, 256, 128"),
        ({"rate": -0.1}, r"rate must lie in 0\.\.1000 events in a cell, got -0\.1"),
        ({"rate": float("nan")}, "rate must lie in"),
    ],
)
def test_options_out_of_range_are_errors(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RandomEvents(**options)


def test_it_stands_in_for_recordings_that_are_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    options = ["--data", "RandomEvents", "--data.like", "SHD", "--data.samples", "4"]
    assert main(["--config", "shd", *options, "--checkpoint", "none", "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "SHD on RandomEvents, 100 time steps" in printed
