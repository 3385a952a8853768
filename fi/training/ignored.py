"""Options of a training that this network would not heed: these are refused."""

from __future__ import annotations

from jsonargparse import Namespace
from torch import nn

from fi.base.errors import UserError
from fi.network.stages import SpikingNetwork
from fi.training.module import split_parameters


def check_heeded(options: Namespace, usual: Namespace, network: nn.Module) -> None:
    """Raise ``UserError`` for options of ``fi.train`` that are set and would change nothing.

    Args:
        options: of the command.
        usual: their defaults.
        network: that is to be trained.
    """
    if isinstance(network, SpikingNetwork):
        for name in ("readout", "time_axis"):
            if options[name] != usual[name] and (name, options[name]) != ("time_axis", 0):
                raise UserError(
                    f"--{name.replace('_', '-')} {options[name]} is for networks that are no "
                    f"SpikingNetwork; {type(network).__name__} is one and has its own readout"
                )
    learns, _ = split_parameters(network)
    if options.neuron_lr != usual.neuron_lr and not learns:
        raise UserError(
            f"--neuron-lr {options.neuron_lr:g}: no beta or threshold of "
            f"{type(network).__name__} is learnt"
        )
