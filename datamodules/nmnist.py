"""N-MNIST: digits on a screen before an event camera that makes three saccades."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from .event_frames import EventFrames
from .recordings import Events, Recordings, of_files, tonic

_FOLDERS = {"train": "Train", "test": "Test"}


class NMNIST(EventFrames):
    """Event counts ``[time, batch, 2, 34, 34]`` of N-MNIST, preprocessed as SpikingJET's.

    G. Orchard, A. Jayawant, G. K. Cohen, N. Thakor: Converting Static Image Datasets to Spiking
    Neuromorphic Datasets Using Saccades, Frontiers in Neuroscience 9, 2015. A folder with part of
    the recordings is used as it is.
    """

    dataset: ClassVar[str] = "NMNIST"
    sensor: ClassVar[tuple[int, int, int]] = (34, 34, 2)
    num_classes = 10
    published: ClassVar[dict[str, int]] = {"train": 60_000, "test": 10_000}
    to_fetch: ClassVar[str] = (
        "the archives Train and Test of N-MNIST (Orchard et al. 2015, "
        "https://www.garrickorchard.com/datasets/n-mnist), unpack them to "
        "{root}/NMNIST/Test/<digit>/<number>.bin and the same for Train"
    )

    def recordings(self, folder: Path, part: str) -> Recordings | None:
        """The files ``<digit>/<number>.bin``, in rounds of one of each digit."""
        paths = sorted((folder / _FOLDERS[part]).glob("[0-9]/*.bin"))
        labels = [int(path.parent.name) for path in paths]
        return of_files(paths, labels, read) if paths else None


def read(path: Path) -> Events:
    """The events of one file, five bytes each.

    Raises:
        ValueError: the file does not end with a whole event.
    """
    size = path.stat().st_size
    if size % 5:
        raise ValueError(f"{size} bytes are no whole number of events of 5 bytes")
    dtype = tonic("datasets").NMNIST.dtype
    events: Events = tonic("io").read_mnist_file(str(path), dtype=dtype)
    return events
