"""The network and the data that the options of a command name."""

from __future__ import annotations

import torch
from jsonargparse import Namespace
from torch import nn

from fi.base.errors import UserError
from fi.campaign.subject import Subject
from fi.cli.overridden import warn_of_overridden
from fi.cli.parser import CommandParser
from fi.network.checkpoint import checkpoint_of, load_checkpoint


def load_subject(parser: CommandParser, options: Namespace) -> Subject:
    """The network with its weights, and the data, as the options name them.

    Raises:
        UserError: the network is none, its weights do not fit, or it cannot take the data.
    """
    torch.manual_seed(options.seed)
    network = parser.build(options, "model")
    if not isinstance(network, nn.Module):
        raise UserError(f"--model {options.model} is no torch.nn.Module")
    path = checkpoint_of(network, options.checkpoint)
    if path is not None:
        load_checkpoint(network, path)
        warn_of_overridden(parser, options, path)
    return Subject(
        network,
        parser.build(options, "data"),
        readout=options.readout,
        time_axis=options.time_axis,
        limit=options.limit_samples,
        word_format=options.format,
    )
