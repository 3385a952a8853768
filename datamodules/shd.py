"""Spiking Heidelberg Digits: spoken digits as spikes of 700 channels of an artificial cochlea."""

from __future__ import annotations

import zipfile
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from fi.base.errors import UserError, first_line

from .event_frames import EventFrames
from .recordings import Events, Recordings, tonic


class SHD(EventFrames):
    """Spike counts ``[time, batch, 700]`` of Spiking Heidelberg Digits.

    B. Cramer, Y. Stradmann, J. Schemmel, F. Zenke: The Heidelberg Spiking Data Sets for the
    Systematic Evaluation of Spiking Neural Networks, IEEE Transactions on Neural Networks and
    Learning Systems, 2020. A file with part of the recordings is used as it is.
    """

    dataset: ClassVar[str] = "SHD"
    sensor: ClassVar[tuple[int, int, int]] = (700, 1, 1)
    num_classes = 20
    published: ClassVar[dict[str, int]] = {"train": 8_156, "test": 2_264}
    to_fetch: ClassVar[str] = (
        "shd_train.h5.zip and shd_test.h5.zip of the Spiking Heidelberg Digits (Cramer et al. "
        "2020, https://zenkelab.org/resources/spiking-heidelberg-datasets-shd/) and put them, or "
        "the .h5 files in them, into {root}/SHD"
    )

    def __init__(self, filter_time: int = 0, **options: Any) -> None:
        if filter_time:
            raise ValueError(f"filter_time must be 0, channels have no neighbours: {filter_time}")
        super().__init__(filter_time=filter_time, **options)

    def recordings(self, folder: Path, part: str) -> Recordings | None:
        """The file ``shd_<part>.h5``, or its archive, in the order of the file."""
        names = (f"shd_{part}.h5", f"shd_{part}.h5.zip")
        return next((of_file(folder / name) for name in names if (folder / name).is_file()), None)


def of_file(path: Path) -> Recordings:
    """All recordings of a file; its spikes are read when the first of them is.

    Raises:
        UserError: it is no such file.
    """
    labels = column(path, "labels")

    @cache
    def spikes() -> tuple[Any, Any]:
        return column(path, "spikes/times"), column(path, "spikes/units")

    def read(number: int) -> Events:
        """The spikes of one recording; seconds become microseconds, as in tonic."""
        times, units = spikes()
        microseconds = times[number].astype(np.float64) * 1e6
        dtype = tonic("datasets").SHD.dtype
        io = tonic("io")
        made: Events = io.make_structured_array(microseconds, units[number], 1, dtype=dtype)
        return made

    names = [f"{path}, recording {number}," for number in range(len(labels))]
    return Recordings([int(label) for label in labels], names, [path], read)


def column(path: Path, name: str) -> Any:
    """``labels``, ``spikes/times`` (seconds) or ``spikes/units``: one entry a recording.

    Raises:
        UserError: it is not there.
    """
    tonic("io")  # it brings h5py; the error where it is missing is ours
    import h5py

    try:
        with h5py.File(BytesIO(unzipped(path)) if path.suffix == ".zip" else path, "r") as file:
            return file[name][:]
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{path} is no file of SHD, with spikes/times, spikes/units and labels: "
            f"{first_line(error)}"
        ) from error


def unzipped(path: Path) -> bytes:
    """The .h5 file in an archive."""
    with zipfile.ZipFile(path) as archive:
        return archive.read(path.stem)
