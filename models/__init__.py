"""Spiking networks: one file each, trained weights in ``pretrained``."""

from .csnn import CSNN
from .nmnist import NMNIST

__all__ = ["CSNN", "NMNIST"]
