"""DVS128 Gesture: eleven hand and arm gestures before an event camera."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from .event_frames import EventFrames
from .recordings import Events, Recordings, of_files, tonic

_FOLDERS = {"train": "ibmGestureTrain", "test": "ibmGestureTest"}


class DVSGesture(EventFrames):
    """Event counts ``[time, batch, 2, 128, 128]`` of DVS128 Gesture, preprocessed as SpikingJET's.

    A. Amir et al.: A Low Power, Fully Event-Based Gesture Recognition System, CVPR 2017. Read in
    the form that tonic has it in: one recording a gesture, times in milliseconds. A folder with
    part of the recordings is used as it is.
    """

    dataset: ClassVar[str] = "DVSGesture"
    sensor: ClassVar[tuple[int, int, int]] = (128, 128, 2)
    num_classes = 11
    published: ClassVar[dict[str, int]] = {"train": 1_077, "test": 264}
    to_fetch: ClassVar[str] = (
        "the archives ibmGestureTrain and ibmGestureTest of DVS128 Gesture (Amir et al. 2017, "
        "http://research.ibm.com/dvsgesture/) as tonic's page on DVSGesture has them, one .npy a "
        "gesture, unpack them to {root}/DVSGesture/ibmGestureTest/<user>/<label>.npy and the same "
        "for ibmGestureTrain"
    )

    def __init__(self, num_steps: int = 25, **options: Any) -> None:
        super().__init__(num_steps=num_steps, **options)

    def recordings(self, folder: Path, part: str) -> Recordings | None:
        """The files ``<user>/<label>.npy``, in rounds of one of each gesture."""
        found = sorted((folder / _FOLDERS[part]).glob("*/*.npy"))
        paths = [path for path in found if path.stem.isdigit()]
        return of_files(paths, [int(path.stem) for path in paths], read) if paths else None


def read(path: Path) -> Events:
    """The events of one file, ``[events, 4]`` of x, y, polarity and milliseconds.

    Raises:
        ValueError: the file holds something else.
    """
    columns = np.load(path, allow_pickle=False)
    if columns.ndim != 2 or columns.shape[1] != 4:
        raise ValueError(f"events must be [events, 4], got {list(columns.shape)}")
    x, y, polarity, milliseconds = columns.T
    microseconds = milliseconds.astype(np.float64) * 1_000
    dtype = tonic("datasets").DVSGesture.dtype
    events: Events = tonic("io").make_structured_array(x, y, polarity, microseconds, dtype=dtype)
    return events
