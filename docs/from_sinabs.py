"""From a network in sinabs to a report: python docs/from_sinabs.py"""

import sys

import nir
import sinabs.layers as sl
import torch
from sinabs.nir import to_nir
from torch import nn

from fi.test import main

torch.manual_seed(0)
network = nn.Sequential(
    nn.Conv2d(2, 4, 5, stride=2),
    sl.IAFSqueeze(batch_size=1),
    nn.Flatten(),
    nn.Linear(4 * 15 * 15, 10),
    sl.IAFSqueeze(batch_size=1),
)  # here stands your training

graph = to_nir(network, torch.zeros(1, 2, 34, 34))
graph.infer_types()  # sinabs leaves the shapes of convolutions open, which no file may
nir.write("sinabs.nir", graph)
options = "--model sinabs.nir --nir-rule sinabs --dt 1 --data SaccadeMNIST"
sys.exit(main([*options.split(), *sys.argv[1:]]))
