"""Spiking networks: one file each, trained weights in ``pretrained``."""

from .csnn import CSNN
from .mlp import MLP
from .nmnist import NMNIST
from .sew_resnet import SEWResNet
from .shd import SHD
from .vgg import SpikingVGG

__all__ = ["CSNN", "MLP", "NMNIST", "SHD", "SEWResNet", "SpikingVGG"]
