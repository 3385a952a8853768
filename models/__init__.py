"""Spiking networks: one file each, trained weights in ``pretrained``."""

from .csnn import CSNN
from .mlp import MLP
from .nmnist import NMNIST
from .shd import SHD

__all__ = ["CSNN", "MLP", "NMNIST", "SHD"]
