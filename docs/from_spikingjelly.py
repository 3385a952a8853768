"""From a network in SpikingJelly to a report: python docs/from_spikingjelly.py"""

import sys

import torch
from spikingjelly.activation_based import functional, layer, neuron
from spikingjelly.activation_based.nir_exchange.to_nir import export_to_nir
from torch import nn

from fi.test import main

torch.manual_seed(0)
network = nn.Sequential(
    layer.Conv2d(2, 4, 5, stride=2),
    neuron.LIFNode(tau=2.0),
    layer.Flatten(),
    layer.Linear(4 * 15 * 15, 10),
    neuron.LIFNode(tau=2.0),
)
with torch.no_grad():  # here stands your training
    network[0].weight.mul_(8)
    network[3].weight.mul_(8)

functional.reset_net(network)
export_to_nir(network, torch.zeros(1, 2, 34, 34), "jelly.nir", dt=1e-4)
options = "--model jelly.nir --nir-rule spikingjelly --dt 1e-4 --data SaccadeMNIST"
sys.exit(main([*options.split(), *sys.argv[1:]]))
