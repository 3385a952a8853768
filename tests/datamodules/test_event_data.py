"""Recorded event data: genuine formats, frames, the cache, and errors."""

from __future__ import annotations

import importlib.metadata
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

pytest.importorskip("tonic")
from event_files import Table, nmnist_bytes, table, write_gestures, write_nmnist, write_shd

from fi.base.errors import UserError
from fi.campaign.subject import Subject
from fi.datamodules import NMNIST, SHD, DVSGesture, event_frames, recordings
from fi.datamodules.event_frames import EventFrames
from fi.models import SHD as SHDNetwork

pytestmark = pytest.mark.filterwarnings("ignore:.*published test recordings")
Counts = npt.NDArray[np.float32]


def counted(events: Table, times: npt.NDArray[np.int64], steps: int, shape: Any) -> Counts:
    """Frames by hand: windows of equal, whole length from the first event; the rest is dropped."""
    frames = np.zeros((steps, *shape), np.float32)
    window = (times[-1] - times[0]) // steps
    for (x, y, polarity, _), time in zip(events, times, strict=True):
        step = (time - times[0]) // window
        if step < steps:
            frames[(step, polarity, y, x) if len(shape) == 3 else (step, x)] += 1
    return frames


def denoised(events: Table, filter_time: int) -> Table:
    """Events with a neighbour, up or down, left or right, that fired less than so long ago.

    Every pixel of the recording fires at time 0, as in tonic.
    """
    last = {(x, y): 0 for x in range(events[:, 0].max() + 1) for y in range(events[:, 1].max() + 1)}
    kept = []
    for event in events:
        x, y, _, time = event
        around = ((x - 1, y), (x + 1, y), (x, y - 1), (x, y + 1))
        if any(cell in last and last[cell] + filter_time > time for cell in around):
            kept.append(event)
        last[x, y] = time
    return np.array(kept)


def all_samples(data: EventFrames) -> tuple[torch.Tensor, torch.Tensor]:
    """All test samples, in one batch."""
    data.setup("test")
    batches = list(data.test_dataloader())  # type: ignore[attr-defined]
    return torch.cat([x for x, _ in batches], dim=1), torch.cat([y for _, y in batches])


def test_nmnist_frames_are_the_events_of_the_files(tmp_path: Path) -> None:
    tables = write_nmnist(tmp_path, [3, 3, 7])
    events, labels = all_samples(NMNIST(tmp_path, tmp_path, num_steps=10, filter_time=0))
    assert events.shape == (10, 3, 2, 34, 34)
    assert events.dtype == torch.float32
    assert labels.tolist() == [3, 7, 3]  # in rounds of one of each class
    for sample, events_of in enumerate([tables[0], tables[2], tables[1]]):
        wanted = counted(events_of, events_of[:, 3], 10, (2, 34, 34))
        assert np.array_equal(events[:, sample].numpy(), wanted)
    assert events.sum() > 500


def test_noise_is_filtered(tmp_path: Path) -> None:
    dense = table(6, 6, 400, 300_000, seed=1)
    write_nmnist(tmp_path, [0])
    (tmp_path / "NMNIST/Test/0/00001.bin").write_bytes(nmnist_bytes(dense))
    events, _ = all_samples(NMNIST(tmp_path, tmp_path, num_steps=5))
    kept = denoised(dense, 10_000)
    assert 100 < len(kept) < 380
    assert np.array_equal(events[:, 0].numpy(), counted(kept, kept[:, 3], 5, (2, 34, 34)))


def test_gestures_in_tonics_form(tmp_path: Path) -> None:
    tables = write_gestures(tmp_path, [0, 2, 10])
    events, labels = all_samples(DVSGesture(root=tmp_path, cache=tmp_path, filter_time=0))
    assert events.shape == (25, 3, 2, 128, 128)
    assert labels.tolist() == [0, 2, 10]
    for sample, events_of in enumerate(tables):
        wanted = counted(events_of, events_of[:, 3] * 1_000, 25, (2, 128, 128))
        assert np.array_equal(events[:, sample].numpy(), wanted)


@pytest.mark.parametrize("zipped", [False, True])
def test_shd_in_its_file_or_archive(tmp_path: Path, zipped: bool) -> None:
    tables = write_shd(tmp_path, [19, 0, 4], zipped)
    data = SHD(root=tmp_path, cache=tmp_path, num_steps=20)
    events, labels = all_samples(data)
    assert events.shape == (20, 3, 700)
    assert labels.tolist() == [19, 0, 4]
    for sample, events_of in enumerate(tables):
        seconds = (events_of[:, 3] / 1_000).astype(np.float16).astype(np.float64)
        wanted = counted(events_of, (seconds * 1e6).astype(np.int64), 20, (700,))
        assert np.array_equal(events[:, sample].numpy(), wanted)
    assert Subject(SHDNetwork(), data).steps == 20


def test_no_sample_is_dropped_and_the_shape_is_known(tmp_path: Path) -> None:
    write_nmnist(tmp_path, [0, 1, 2, 3, 4])
    data = NMNIST(tmp_path, tmp_path, num_steps=4, batch_size=2)
    data.setup("test")
    assert [len(labels) for _, labels in data.test_dataloader()] == [2, 2, 1]
    assert (data.input_shape, data.num_classes, data.num_steps) == ((2, 34, 34), 10, 4)


def test_training_batches_follow_the_seed(tmp_path: Path) -> None:
    write_nmnist(tmp_path, list(range(10)), "Train")

    def order(seed: int) -> list[int]:
        data = NMNIST(tmp_path, tmp_path, num_steps=4, seed=seed)
        with pytest.warns(UserWarning, match="10 of the 60,000 published train recordings"):
            data.setup("fit")
        return [int(label) for _, labels in data.train_dataloader() for label in labels]

    assert order(1) == order(1)
    assert order(1) != order(2)
    assert sorted(order(1)) == list(range(10))


def test_part_of_the_recordings_is_used_with_a_warning(tmp_path: Path) -> None:
    write_nmnist(tmp_path, [5, 6])
    with pytest.warns(UserWarning, match="NMNIST: 2 of the 10,000 published test recordings"):
        NMNIST(tmp_path, tmp_path).setup("test")


def test_an_empty_recording_is_empty_frames(tmp_path: Path) -> None:
    write_nmnist(tmp_path, [5, 6])
    (tmp_path / "NMNIST/Test/5/00001.bin").write_bytes(b"")
    events, labels = all_samples(NMNIST(tmp_path, tmp_path, num_steps=4))
    assert labels.tolist() == [5, 6]
    assert events[:, 0].sum() == 0


def test_the_second_time_frames_come_from_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_nmnist(tmp_path, [1, 2])
    first = all_samples(NMNIST(tmp_path, tmp_path / "c", num_steps=4))
    monkeypatch.setattr(event_frames, "frames_of", None)
    again = all_samples(NMNIST(tmp_path, tmp_path / "c", num_steps=4, batch_size=1))
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    assert len(list((tmp_path / "c").iterdir())) == 1


def test_whatever_changes_the_frames_changes_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_nmnist(tmp_path, [1, 2])
    file = tmp_path / "NMNIST/Test/1/00001.bin"

    def name(**options: Any) -> Path:
        data = NMNIST(tmp_path, tmp_path, **options)
        found = data.find("test")
        assert found is not None
        return data.cache_file("test", found)

    names = [name(), name(num_steps=9), name(filter_time=9)]
    assert name(batch_size=3, seed=4) == names[0]
    os.utime(file, (1, 1))
    names.append(name())
    file.write_bytes(file.read_bytes()[5:])
    names.append(name())
    (file.parent / "00009.bin").write_bytes(file.read_bytes())
    names.append(name())
    with monkeypatch.context() as patch:
        patch.setattr(event_frames, "tonic_version", lambda: "0.0.1")
        names.append(name())
    assert len(set(names)) == 7


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (NMNIST, ["Orchard et al. 2015", "NMNIST/Test/<digit>/<number>.bin"]),
        (DVSGesture, ["Amir et al. 2017", "DVSGesture/ibmGestureTest/<user>/<label>.npy"]),
        (SHD, ["Cramer et al. 2020", "shd_test.h5.zip", "/SHD"]),
    ],
)
def test_missing_data_is_named_and_never_fetched_unasked(
    kind: type[EventFrames], words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tonic

    monkeypatch.setattr(tonic.datasets, kind.dataset, None)
    with pytest.raises(UserError) as error:
        kind(root=tmp_path / "nowhere", cache=tmp_path).setup("test")
    assert f"{kind.dataset}: no test recordings below {tmp_path}/nowhere" in str(error.value)
    assert all(word in str(error.value) for word in (*words, "--data.root", "--data.download"))
    assert "{" not in str(error.value)


def unreachable(save_to: str, train: bool) -> None:
    raise OSError("no route to host")


def test_a_download_is_tonics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tonic

    class Fetching:
        dtype = tonic.datasets.NMNIST.dtype

        def __init__(self, save_to: str, train: bool) -> None:
            assert not train
            write_nmnist(Path(save_to), [4])

    monkeypatch.setattr(tonic.datasets, "NMNIST", Fetching)
    _, labels = all_samples(NMNIST(tmp_path, tmp_path, num_steps=4, download=True))
    assert labels.tolist() == [4]


def test_a_download_that_fails_says_what_to_fetch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tonic

    monkeypatch.setattr(tonic.datasets, "NMNIST", unreachable)
    with pytest.raises(UserError, match=r"could not be downloaded .*no route.* Fetch the archives"):
        NMNIST(tmp_path, tmp_path, download=True).setup("test")


def test_without_tonic_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    write_nmnist(tmp_path, [4])
    monkeypatch.setattr(importlib.metadata, "version", missing)
    with pytest.raises(UserError, match=r"pip install '\.\[events\]'.*GPL-3.0"):
        NMNIST(tmp_path, tmp_path).setup("test")
    monkeypatch.setitem(sys.modules, "tonic.io", None)
    with pytest.raises(UserError, match=r"pip install '\.\[events\]'"):
        recordings.tonic("io")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"1234567", "no whole number of events of 5 bytes"),
        (bytes([99, 99, 0, 0, 1]), "x lies in 99..99; the sensor has 0..33"),
    ],
)
def test_a_broken_recording_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    write_nmnist(tmp_path, [4])
    (tmp_path / "NMNIST/Test/4/00001.bin").write_bytes(content)
    with pytest.raises(UserError) as error:
        NMNIST(tmp_path, tmp_path / "c", filter_time=0, num_steps=1).setup("test")
    assert "4/00001.bin is no recording of NMNIST" in str(error.value)
    assert message in str(error.value)
    assert not list(tmp_path.glob("c/*"))


def test_broken_files_of_the_others_are_named(tmp_path: Path) -> None:
    write_gestures(tmp_path, [0])
    np.save(tmp_path / "DVSGesture/ibmGestureTest/user24_fluorescent/0.npy", np.zeros((5, 3)))
    with pytest.raises(UserError, match=r"0.npy is no recording .*must be \[events, 4\]"):
        DVSGesture(root=tmp_path, cache=tmp_path).setup("test")
    (tmp_path / "SHD").mkdir()
    (tmp_path / "SHD/shd_test.h5").write_bytes(b"no h5")
    with pytest.raises(UserError, match=r"shd_test.h5 is no file of SHD, with spikes/times"):
        SHD(root=tmp_path, cache=tmp_path).setup("test")


@pytest.mark.parametrize("options", [{"num_steps": 0}, {"filter_time": -1}])
def test_options_out_of_range(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="num_steps must be at least 1"):
        NMNIST(**options)


def test_shd_has_no_neighbours_to_filter_by() -> None:
    with pytest.raises(ValueError, match="filter_time must be 0"):
        SHD(filter_time=10_000)
