"""Small recordings in the genuine formats of N-MNIST, DVS128 Gesture and SHD."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

Table = npt.NDArray[np.int64]


def table(width: int, height: int, events: int, duration: int, seed: int) -> Table:
    """Random events ``[events, 4]``: x, y, polarity, time; in the order of time."""
    draw = np.random.default_rng(seed)
    columns = [draw.integers(0, size, events) for size in (width, height, 2)]
    return np.stack([*columns, np.sort(draw.integers(0, duration, events))], axis=1)


def nmnist_bytes(events: Table) -> bytes:
    """Five bytes an event: x, y, then the polarity's bit and 23 bits of microseconds."""
    x, y, polarity, time = events.T
    word = (polarity << 23) | time
    columns = [x, y, word >> 16 & 0xFF, word >> 8 & 0xFF, word & 0xFF]
    return np.stack(columns, axis=1).astype(np.uint8).tobytes()


def write_nmnist(root: Path, digits: list[int], part: str = "Test") -> list[Table]:
    """``NMNIST/<part>/<digit>/<number>.bin``, one recording for each of ``digits``."""
    tables = []
    for number, digit in enumerate(digits):
        tables.append(table(34, 34, 200, 300_000, seed=number))
        path = root / "NMNIST" / part / str(digit) / f"{number + 1:05}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(nmnist_bytes(tables[-1]))
    return tables


def write_gestures(root: Path, gestures: list[int]) -> list[Table]:
    """``DVSGesture/ibmGestureTest/<user>/<label>.npy``: x, y, polarity, milliseconds."""
    folder = root / "DVSGesture" / "ibmGestureTest" / "user24_fluorescent"
    folder.mkdir(parents=True)
    tables = []
    for gesture in gestures:
        tables.append(table(128, 128, 300, 6_000, seed=gesture))
        np.save(folder / f"{gesture}.npy", tables[-1].astype(np.float64))
    return tables


def write_shd(root: Path, labels: list[int], zipped: bool = False) -> list[Table]:
    """``SHD/shd_test.h5``: seconds in float16 and units, of another length for each recording."""
    import h5py  # here, because tonic brings it

    folder = root / "SHD"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "shd_test.h5"
    tables = [table(700, 1, 100 + 10 * i, 1_000, seed=i) for i in range(len(labels))]
    with h5py.File(path, "w") as file:
        spikes = file.create_group("spikes")
        times = spikes.create_dataset("times", len(labels), h5py.vlen_dtype(np.float16))
        units = spikes.create_dataset("units", len(labels), h5py.vlen_dtype(np.int32))
        for i, events in enumerate(tables):
            times[i] = (events[:, 3] / 1_000).astype(np.float16)
            units[i] = events[:, 0].astype(np.int32)
        file["labels"] = np.array(labels, np.uint16)
    if zipped:
        with zipfile.ZipFile(folder / "shd_test.h5.zip", "w") as archive:
            archive.write(path, path.name)
        path.unlink()
    return tables
