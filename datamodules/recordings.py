"""Recordings on disk, as tonic's readers give them."""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fi.base.errors import UserError, first_line

#: Structured arrays with the fields x, (y,) t in microseconds, and p.
Events = npt.NDArray[np.void]


@dataclass(frozen=True)
class Recordings:
    """Some recordings of a data set.

    Attributes:
        labels: the class of each.
        names: what to call each in an error.
        files: all files that they are in.
        read: the events of one, by its number.
    """

    labels: Sequence[int]
    names: Sequence[str]
    files: Sequence[Path]
    read: Callable[[int], Events]

    def __len__(self) -> int:
        return len(self.labels)

    def fingerprint(self) -> str:
        """Hash of the files' names, sizes and times: another one where a file was changed."""
        stats = [(file.name, file.parent.name, file.stat()) for file in self.files]
        facts = [(name, folder, s.st_size, s.st_mtime_ns) for name, folder, s in stats]
        return hashlib.sha256(json.dumps([facts, list(self.labels)]).encode()).hexdigest()


def of_files(
    paths: Sequence[Path], labels: Sequence[int], read: Callable[[Path], Events]
) -> Recordings:
    """One recording a file, in rounds of one of each class: any first part of them is balanced."""
    seen: Counter[int] = Counter()
    rounds = []
    for path, label in zip(paths, labels, strict=True):
        rounds.append((seen[label], label, path))
        seen[label] += 1
    rounds.sort()
    files = [path for _, _, path in rounds]
    names = [str(path) for path in files]
    return Recordings([label for _, label, _ in rounds], names, files, lambda i: read(files[i]))


def frames_of(
    events: Events, sensor: tuple[int, int, int], num_steps: int, filter_time: int
) -> npt.NDArray[np.integer]:
    """Event counts ``[num_steps, ...]`` of one recording, by tonic's transforms.

    ``Denoise(filter_time)`` drops events without a neighbour in space and time, where
    ``filter_time`` (microseconds) is not 0; ``ToFrame(n_time_bins)`` counts the rest.

    Raises:
        ValueError: an event lies outside of the sensor.
    """
    check_places(events, sensor)
    transforms = tonic("transforms")
    if filter_time and len(events):
        events = transforms.Denoise(filter_time=filter_time)(events)
    to_frame = transforms.ToFrame(sensor_size=sensor, n_time_bins=num_steps)
    if not len(events):
        return np.zeros((num_steps, *frame_shape(sensor)), np.int16)
    frames: npt.NDArray[np.integer] = to_frame(events)
    return frames.reshape(num_steps, *frame_shape(sensor))


def check_places(events: Events, sensor: tuple[int, int, int]) -> None:
    """Raise ``ValueError`` where an event lies outside of the sensor."""
    for axis, size in zip("xy", sensor[:2], strict=True):
        if axis in (events.dtype.names or ()) and len(events):
            low, high = events[axis].min(), events[axis].max()
            if not 0 <= low <= high < size:
                raise ValueError(f"{axis} lies in {low}..{high}; the sensor has 0..{size - 1}")


def frame_shape(sensor: tuple[int, int, int]) -> tuple[int, ...]:
    """Shape of one frame of a sensor (width, height, polarities): a line's is its width."""
    width, height, polarities = sensor
    return (width,) if height == polarities == 1 else (polarities, height, width)


def tonic(module: str) -> Any:
    """A module of tonic, imported when it is first needed: that takes two seconds.

    Raises:
        UserError: tonic is not installed, or does not import.
    """
    try:
        return importlib.import_module(f"tonic.{module}")
    except ImportError as error:
        raise _without_tonic(first_line(error)) from error


def tonic_version() -> str:
    """The version of tonic.

    Raises:
        UserError: it is not installed.
    """
    try:
        return importlib.metadata.version("tonic")
    except importlib.metadata.PackageNotFoundError:
        raise _without_tonic("not installed") from None


def _without_tonic(why: str) -> UserError:
    return UserError(
        f"event recordings are read by tonic ({why}): pip install '.[events]'. It is an extra "
        "because it is under GPL-3.0 and brings 400 MB of packages; SaccadeMNIST does without it"
    )
