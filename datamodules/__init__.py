"""Lightning datamodules: event data as batches `(events [time, batch, ...], labels [batch])`."""

from .saccade_mnist import SaccadeMNIST

__all__ = ["SaccadeMNIST"]
