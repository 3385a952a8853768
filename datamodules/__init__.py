"""Lightning datamodules: event data as batches `(events [time, batch, ...], labels [batch])`."""

from .dvs_gesture import DVSGesture
from .nmnist import NMNIST
from .random_events import RandomEvents
from .saccade_mnist import SaccadeMNIST
from .shd import SHD

__all__ = ["NMNIST", "SHD", "DVSGesture", "RandomEvents", "SaccadeMNIST"]
