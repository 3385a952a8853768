"""Lightning datamodules: event data as batches `(events [time, batch, ...], labels [batch])`."""

from datamodules.saccade_mnist import SaccadeMNIST

__all__ = ["SaccadeMNIST"]
