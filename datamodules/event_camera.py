"""An event camera that looks at a still image while three saccades move it, as in N-MNIST.

N-MNIST (Orchard, Jayawant, Cohen and Thakor, 2015) shows every MNIST digit on a screen to a moving
event camera. This is the same experiment in numbers: the image moves along a triangle over a sensor
of 34x34 pixels, and a pixel sends an event each time its brightness has moved by `threshold` since
its last event. Corners, speed profile and blur are fitted to genuine N-MNIST recordings.

All brightness is whole numbers below 2**24, exact in float32: the events depend neither on the
order of summation nor on the number of threads, nor on which images are emulated together.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from .sparse_frames import SparseFrames

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]

SENSOR = 34
MICROSTEPS = 300
"""Steps of the emulation, about one millisecond each; a frame gathers MICROSTEPS / num_steps."""
CORNERS = ((-3.2, -2.2), (-1.3, 3.5), (2.7, -2.1), (-3.4, -2.6))
"""Where the image's centre is before, between and after the saccades: (x, y) in pixels from the
sensor's centre, y downwards. The triangle stays open: if the image came back to exactly where it
was, every pixel would come back to its old brightness, and many would send an event at once."""
BLUR = 0.6
"""Standard deviation of the lens's point spread, in pixels."""
WHITE = 255
WEIGHT = 250
"""A lens's weights add up to WEIGHT, give or take 3: WHITE * (WEIGHT + 3)**2 < 2**24."""
THRESHOLDS = (0.05, 1.0)
"""Allowed thresholds. The path is 24 pixels long (as |dx| + |dy|), so that a pixel's brightness
rises fully at most 12 times: from 0.05 upwards even a single frame's counts fit in a byte."""


def emulate(images: npt.NDArray[np.generic], num_steps: int, threshold: float) -> Bytes:
    """Event counts `[n, num_steps, 2, 34, 34]` of images `[n, height, width]` (0 black, 255 white).

    `threshold` is a fraction of the whole range from black to white. Channel 1 counts events where
    the image gets darker, channel 0 where it gets brighter: the polarity of the N-MNIST recordings.
    Raises ValueError for images, steps or thresholds out of range.
    """
    _check(images, num_steps, threshold)
    step = np.float32(round(threshold * WHITE * WEIGHT**2))
    frames = np.zeros((len(images), num_steps, 2, SENSOR, SENSOR), np.uint8)
    views = brightness(images)
    reference = next(views)
    for microstep, view in enumerate(views):
        change = np.trunc((view - reference) / step)
        reference += change * step
        frame = frames[:, microstep * num_steps // MICROSTEPS]
        frame[:, 0] += np.maximum(change, 0).astype(np.uint8)
        frame[:, 1] += np.maximum(-change, 0).astype(np.uint8)
    return frames


def record(
    images: npt.NDArray[np.generic], num_steps: int, threshold: float, chunk: int = 250
) -> SparseFrames:
    """`emulate`, a chunk of images at a time: the counts of all never lie in memory at once."""
    chunks = (images[first : first + chunk] for first in range(0, len(images), chunk))
    frames = (each for part in chunks for each in emulate(part, num_steps, threshold))
    return SparseFrames.of(frames, (num_steps, 2, SENSOR, SENSOR))


def brightness(images: npt.NDArray[np.generic]) -> Iterator[Floats]:
    """What the sensor sees, `[n, 34, 34]`, at each end of the MICROSTEPS: MICROSTEPS + 1 views."""
    pixels = np.rint(images).astype(np.float32)
    path = trajectory()
    columns = lens(path[:, 0], images.shape[2])
    rows = lens(path[:, 1], images.shape[1])
    for row, column in zip(rows, columns, strict=True):
        yield row @ (pixels @ column.T)


def trajectory() -> npt.NDArray[np.float64]:
    """The image's centre at each end of the MICROSTEPS, `[MICROSTEPS + 1, 2]` (x, y) in pixels.

    A saccade takes a third of the time, starts and ends at rest: `6 u^5 - 15 u^4 + 10 u^3`.
    """
    corners = np.array(CORNERS)
    saccades = len(corners) - 1
    time = np.linspace(0, saccades, MICROSTEPS + 1)
    u = np.clip(time[:, None] - np.arange(saccades), 0, 1)
    progress = u**3 * (u * (6 * u - 15) + 10)
    path: npt.NDArray[np.float64] = corners[0] + progress @ np.diff(corners, axis=0)
    return path


def lens(shifts: npt.NDArray[np.float64], size: int) -> Floats:
    """Whole-number weights `[shifts, 34, size]` that move a line of `size` pixels and blur it."""
    sensor = np.arange(SENSOR) - (SENSOR - 1) / 2
    line = np.arange(size) - (size - 1) / 2
    distance = sensor[None, :, None] - shifts[:, None, None] - line
    spread = np.exp(-0.5 * (distance / BLUR) ** 2) / (BLUR * np.sqrt(2 * np.pi))
    weights: Floats = np.rint(WEIGHT * spread).astype(np.float32)
    return weights


def _check(images: npt.NDArray[np.generic], num_steps: int, threshold: float) -> None:
    if images.ndim != 3 or max(images.shape[1:]) > SENSOR:
        raise ValueError(
            f"images must be [n, height, width] of at most {SENSOR}x{SENSOR}, got {images.shape}"
        )
    if images.size and not 0 <= images.min() <= images.max() <= WHITE:
        raise ValueError(f"images must lie in 0..{WHITE}, got {images.min()}..{images.max()}")
    if not 1 <= num_steps <= MICROSTEPS:
        raise ValueError(f"num_steps must lie in 1..{MICROSTEPS}, got {num_steps}")
    if not THRESHOLDS[0] <= threshold <= THRESHOLDS[1]:
        raise ValueError(f"threshold must lie in {THRESHOLDS[0]}..{THRESHOLDS[1]}, got {threshold}")
