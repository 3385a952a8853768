"""What the recorded data sets have in common: frames of their events, made once and kept."""

from __future__ import annotations

import hashlib
import json
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch.utils.data import DataLoader

from fi.base.errors import UserError, first_line

from .lightning_data import LightningData
from .recordings import Recordings, frame_shape, frames_of, tonic, tonic_version
from .sparse_frames import FrameDataset, Frames, Integers, Sample, SparseFrames, kept

VERSION = 1
"""Of the frames. It is part of a cache file's name: raise it when they change."""


class EventFrames(LightningData, ABC):
    """Frames of a recorded data set; a subclass says where its recordings are.

    Batches are ``(events [time, batch, ...] float32 counts, labels [batch] int64)``; the last one
    may be smaller, no sample is lost.

    Args:
        root: folder of the data set, in the layout that tonic gives it.
        cache: folder of the frames, which are made in the first pass and kept.
        num_steps: number of frames that a recording is cut into.
        filter_time: in microseconds, how close in time an event's neighbour must be for it to be no
            noise; 0 keeps all events.
        batch_size: samples in a batch.
        num_workers: processes that load batches.
        download: fetch the data set if it is not there.
        seed: of the order of the training batches.
    """

    dataset: ClassVar[str]
    """Its name in tonic."""
    sensor: ClassVar[tuple[int, int, int]]
    """Width, height, polarities."""
    num_classes: int
    published: ClassVar[dict[str, int]]
    """Recordings in the published parts, ``train`` and ``test``."""
    to_fetch: ClassVar[str]
    """What to fetch, from which page, and where below ``root`` it goes."""

    def __init__(
        self,
        root: str | Path = "data",
        cache: str | Path = "output/data",
        num_steps: int = 100,
        filter_time: int = 10_000,
        batch_size: int = 128,
        num_workers: int = 0,
        download: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if num_steps < 1 or filter_time < 0:
            raise ValueError(
                f"num_steps must be at least 1 and filter_time at least 0, "
                f"got {num_steps} and {filter_time}"
            )
        self.root, self.cache = Path(root).expanduser(), Path(cache).expanduser()
        self.num_steps, self.filter_time = num_steps, filter_time
        self.batch_size, self.num_workers = batch_size, num_workers
        self.download, self.seed = download, seed
        self.input_shape = frame_shape(self.sensor)
        self._parts: dict[str, FrameDataset] = {}

    @abstractmethod
    def recordings(self, folder: Path, part: str) -> Recordings | None:
        """The recordings of ``train`` or ``test`` in the data set's folder, if there are any."""

    def find(self, part: str) -> Recordings | None:
        """The recordings of a part below ``root``, ``None`` if there are none."""
        folders = (self.root / self.dataset, self.root)
        return next(filter(None, (self.recordings(folder, part) for folder in folders)), None)

    def train_dataloader(self) -> DataLoader[Sample]:
        """The training recordings, in another order each epoch; the orders follow from the seed."""
        return self._loader("train", torch.Generator().manual_seed(self.seed))

    def test_dataloader(self) -> DataLoader[Sample]:
        """The test recordings, in a fixed order."""
        return self._loader("test")

    def setup(self, stage: str | None = None) -> None:
        """Load the part that is tested, or trained on: Lightning calls this before every run."""
        self._part("train" if stage == "fit" else "test")

    def _loader(self, part: str, shuffle: torch.Generator | None = None) -> DataLoader[Sample]:
        return self._part(part).load(self.batch_size, self.num_workers, shuffle)

    def cache_file(self, part: str, recordings: Recordings) -> Path:
        """The file of the frames; everything they depend on is in its name, or in the hash there.

        The folder and the tonic in use are, too: a file that was changed gives another name.
        """
        facts = [VERSION, tonic_version(), self.sensor, recordings.fingerprint()]
        key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]
        return self.cache / (
            f"{self.dataset}-{part}-v{VERSION}-steps{self.num_steps}-"
            f"filter{self.filter_time}-{key}.npz"
        )

    def _part(self, part: str) -> FrameDataset:
        if part not in self._parts:
            recordings = self._found(part)
            if len(recordings) < self.published[part]:
                warnings.warn(
                    f"{self.dataset}: {len(recordings):,} of the {self.published[part]:,} "
                    f"published {part} recordings are in {self.root}; these are used",
                    stacklevel=2,
                )
            self._parts[part] = FrameDataset(*self._frames(part, recordings))
        return self._parts[part]

    def _found(self, part: str) -> Recordings:
        recordings = self.find(part)
        if recordings is None and self.download:
            self._fetch(part)
            recordings = self.find(part)
        if recordings is None:
            raise UserError(
                f"{self.dataset}: no {part} recordings below {self.root}. {self.how_to_fetch}, "
                "or let tonic fetch it: --data.download true. Noise of its shape will do for a "
                f"trial of the mechanics: --data RandomEvents --data.like {self.dataset}"
            )
        return recordings

    @property
    def how_to_fetch(self) -> str:
        """What to fetch, and where to put it."""
        return f"Fetch {self.to_fetch.format(root=self.root)}, or name its folder by --data.root"

    def _fetch(self, part: str) -> None:
        """Download by tonic, into the layout that ``find`` looks for."""
        try:
            getattr(tonic("datasets"), self.dataset)(save_to=str(self.root), train=part == "train")
        except Exception as error:  # of the network, the disk, the archive
            raise UserError(
                f"{self.dataset} could not be downloaded ({type(error).__name__}: "
                f"{first_line(error)}). {self.how_to_fetch}"
            ) from error

    def _frames(self, part: str, recordings: Recordings) -> tuple[SparseFrames, Integers]:
        """Frames and labels: from the cache, or else made and written to it."""
        shape = (self.num_steps, *self.input_shape)

        def made() -> tuple[SparseFrames, Integers]:
            frames = SparseFrames.of(self._first_pass(part, recordings), shape)
            return frames, np.array(recordings.labels, np.int64)

        return kept(self.cache_file(part, recordings), shape, made)

    def _first_pass(self, part: str, recordings: Recordings) -> Iterator[Frames]:
        """Frames of one recording after the other, with a progress bar."""
        console = Console(stderr=True)
        numbers = track(
            range(len(recordings)),
            f"{self.dataset}, {part}: events to frames",
            console=console,
            disable=not console.is_terminal,
        )
        for number in numbers:
            try:
                events = recordings.read(number)
                yield frames_of(events, self.sensor, self.num_steps, self.filter_time)
            except (OSError, ValueError, IndexError, KeyError) as error:
                raise UserError(
                    f"{recordings.names[number]} is no recording of {self.dataset}: "
                    f"{first_line(error)}"
                ) from error
