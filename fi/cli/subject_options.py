"""The network and the data that the options of a command name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
import yaml
from jsonargparse import Namespace
from torch import nn

from fi.base.errors import UserError
from fi.base.text_files import FileError, read_text
from fi.base.user_makers import Maker
from fi.campaign.cluster.worker_campaign import find_in
from fi.campaign.subject import Subject
from fi.cli.chosen_classes import find_chosen_classes
from fi.cli.overridden import warn_of_overridden
from fi.cli.parser import CommandParser
from fi.cli.test_options import make_parser
from fi.detection.subset_file import read_subset
from fi.faults.formats.clamps import Clamps
from fi.network.checkpoint import checkpoint_of, load_checkpoint
from fi.sampling.plan import DEFAULT_SEED


def find_weights(maker: Maker, network: nn.Module, given: str | None) -> Path | None:
    """The file of the weights; what a function or a module has made keeps its own by default."""
    if given is None and not isinstance(maker, type):
        return None
    return checkpoint_of(network, given)


def load_network(parser: CommandParser, options: Namespace) -> nn.Module:
    """The network with its weights, random ones drawn from ``--model-seed``.

    Raises:
        UserError: it is none, or its weights do not fit.
    """
    if options.model_seed < 0:
        raise UserError(f"--model-seed {options.model_seed}: allowed is 0 or more")
    torch.manual_seed(options.model_seed)
    network = parser.build(options, "model")
    if not isinstance(network, nn.Module):
        raise UserError(f"--model {options.model} is no torch.nn.Module")
    path = find_weights(parser.classes["model"], network, options.checkpoint)
    if path is None:
        return network
    if options.model_seed != DEFAULT_SEED:
        raise UserError(
            f"--model-seed {options.model_seed} is for random weights; these are from {path}"
        )
    load_checkpoint(network, path)
    warn_of_overridden(parser, options, path)
    return network


def _find_subset(options: Namespace) -> list[int] | None:
    """The samples of ``--subset``."""
    if options.subset is None:
        return None
    if options.limit_samples is not None:
        raise UserError(
            f"--subset {options.subset}: --limit-samples {options.limit_samples} takes others; "
            "give one of them"
        )
    return read_subset(Path(options.subset))


def read_clamps(options: Namespace) -> Clamps | None:
    """The bounds of the file that fi.test is given by ``--clamp``."""
    return None if options.clamp is None else Clamps.read(Path(options.clamp))


def load_subject(
    parser: CommandParser, options: Namespace, clamps: Clamps | None = None
) -> Subject:
    """The network with its weights, clamped if asked for, and the data, as the options name them.

    Raises:
        UserError: the network is none, its weights do not fit, or it cannot take the data.
    """
    network = load_network(parser, options)
    maker = parser.classes["model"]
    return Subject(
        network,
        parser.build(options, "data"),
        name=None if isinstance(maker, type) else maker.__name__,
        readout=options.readout,
        time_axis=options.time_axis,
        limit=options.limit_samples,
        subset=_find_subset(options),
        word_format=options.format,
        state_format=options.state_format,
        forward=options.forward,
        batch_axis=options.batch_axis,
        forward_seed=options.forward_seed,
        decision_threshold=options.decision_threshold,
        clamps=clamps,
    )


def load_campaign_subject(folder: Path) -> Subject:
    """The network and the data of a campaign that was run by ``fi.test``, as it was run.

    Raises:
        UserError: it was run from Python, or what it names is no longer there, or has changed.
    """
    config = folder / "config.yaml"
    given = ["--config", str(config)]
    if not isinstance(yaml.safe_load(read_text(config, FileError)), dict):
        raise UserError(
            f"{config}: the campaign was run from Python: no options say what its data are"
        )
    classes = find_chosen_classes(given, ("model", "data"))
    parser = make_parser(classes)
    options = parser.parse(given)
    return load_subject(parser, options, read_clamps(options))


@dataclass(frozen=True)
class SubjectFromOptions:
    """Makes the subject of a command anew, in the process of a worker.

    Args:
        argv: the words of the command.
        folder: in which it was given.
    """

    argv: tuple[str, ...]
    folder: str

    def __call__(self) -> Subject:
        find_in(self.folder)
        classes = find_chosen_classes(self.argv, ("model", "data"))
        parser = make_parser(classes)
        options = parser.parse(self.argv)
        return load_subject(parser, options, read_clamps(options))
