"""The options of ``python -m fi.train``, and what they mean."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from jsonargparse.typing import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from fi.base.user_makers import Maker
from fi.cli.parser import CommandParser
from fi.network.adapting.outputs import READOUTS
from fi.training.recipe import Recipe, default_recipe

COMMAND = "python -m fi.train"
#: Options that are no part of what a config file replays.
NOT_REPLAYED = ("quiet", "save")


def recipe_of(options: Namespace) -> Recipe:
    """How to train, in plain numbers: jsonargparse's own types would get into the checkpoint."""
    return Recipe(**{name: type(value)(options[name]) for name, value in vars(Recipe()).items()})


def trainer_options(options: Namespace) -> dict[str, Any]:
    """Options that Lightning's Trainer knows under the same names."""
    names = ("accelerator", "devices", "num_nodes", "strategy", "precision")
    devices = options.devices
    number = int(devices) if devices.lstrip("-").isdigit() else devices
    return {name: options[name] for name in names} | {"devices": number}


def training_folder(options: Namespace, network: str) -> Path:
    """Where a training of ``network`` writes."""
    return Path(options.output) / network / "training" / f"seed{options.seed}"


def make_parser(classes: Mapping[str, Maker]) -> CommandParser:
    """The parser; ``classes`` are the network and the datamodule where these are known."""
    more = "" if classes else " Name a network to see its arguments: --model MODEL --help."
    parser = CommandParser(
        COMMAND, "Train a spiking network and write its weights." + more, classes
    )
    parser.add_argument("--config", action="config", help="a YAML file of options, as runs write")
    _add_subject(parser)
    _add_recipe(parser, default_recipe(classes.get("model")))
    _add_run(parser)
    parser.add_constructors()
    return parser


def _add_subject(parser: CommandParser) -> None:
    add = parser.add_argument_group("What to train").add_argument
    add(
        "--model",
        type=str,
        help="a network of models/, or a class, function or network: ./my_file.py:MyNet",
    )
    add("--data", type=str, help="a datamodule, named likewise; default: the network's own")
    allowed = ", ".join(READOUTS)
    add("--readout", default="auto", type=str, help=f"what a forward of its own returns: {allowed}")
    add(
        "--time-axis",
        default="auto",
        metavar="N",
        type=int | str,
        help="where such a forward wants time; none: images",
    )


def _add_recipe(parser: CommandParser, recipe: Recipe) -> None:
    add = parser.add_argument_group("How to train").add_argument
    add(
        "--epochs",
        default=recipe.epochs,
        metavar="N",
        type=PositiveInt,
        help="passes over the training samples",
    )
    add(
        "--lr", default=recipe.lr, type=PositiveFloat, help="first learning rate, falls as a cosine"
    )
    add(
        "--neuron-lr",
        default=recipe.neuron_lr,
        metavar="PART",
        type=PositiveFloat,
        help="that of betas and thresholds, as a part of it",
    )
    add(
        "--temperature",
        default=recipe.temperature,
        metavar="T",
        type=PositiveFloat,
        help="cross-entropy is of spike counts divided by it",
    )
    add(
        "--rate-penalty",
        default=recipe.rate_penalty,
        metavar="WEIGHT",
        type=NonNegativeFloat,
        help="of the layers' mean squared firing rates in the loss",
    )
    add(
        "--shift",
        default=recipe.shift,
        metavar="PIXELS",
        type=NonNegativeInt,
        help="move each training sample at random by up to so many",
    )
    add("--seed", default=recipe.seed, metavar="N", type=NonNegativeInt, help="of all draws")


def _add_run(parser: CommandParser) -> None:
    add = parser.add_argument_group("Where to run and to write").add_argument
    add("--accelerator", default="auto", type=str, help="auto, cpu, gpu, ...")
    add("--devices", default="1", type=str, help="how many, or which: 0,2")
    add("--num_nodes", default=1, metavar="N", type=PositiveInt, help="machines")
    add("--strategy", default="auto", type=str, help="Lightning's strategy, as ddp")
    add("--precision", default="32-true", type=str, help="Lightning's precision, as 16-mixed")
    add("--output", default="output", metavar="DIR", type=str, help="folder of all results")
    add("--save", metavar="FILE", type=str, help="where the weights go; below --output")
    add("--quiet", action="store_true", help="no progress bar")
