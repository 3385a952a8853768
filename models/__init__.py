"""Spiking networks: one file each, trained weights in ``pretrained``."""

from .csnn import CSNN
from .nmnist import NMNIST
from .shd import SHD

__all__ = ["CSNN", "NMNIST", "SHD"]
