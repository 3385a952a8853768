"""The options of ``python -m fi.train``, and what they mean."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from jsonargparse.typing import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from fi.base.errors import UserError
from fi.base.user_classes import names_class
from fi.base.user_makers import Maker
from fi.cli.option_values import parse_bit_sets, split_words
from fi.cli.parser import CommandParser
from fi.faults.groups.element_maps import list_maps
from fi.faults.groups.user_maps import load_map
from fi.faults.user_models import load_model
from fi.network.adapting.outputs import READOUTS
from fi.training.fault_schedule import FaultSchedule
from fi.training.recipe import Recipe, default_recipe

COMMAND = "python -m fi.train"
#: Options that are no part of what a config file replays.
NOT_REPLAYED = ("quiet", "save", "resume")
_USUAL_FAULTS = {
    "map": None,
    "rate": "",
    "group": "",
    "bits": "0-31",
    "models": "bit-flip",
    "layers": "*",
    "seed": 51196,
}


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
    _add_faults(parser)
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
    add(
        "--checkpoint",
        default="none",
        metavar="FILE",
        type=str,
        help="weights to begin with, or 'own': those that come with the network",
    )
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


def _add_faults(parser: CommandParser) -> None:
    add = parser.add_argument_group("Training under faults").add_argument
    add(
        "--faults.map",
        metavar="FILE",
        type=str,
        help="a fault list of one trial: the same faults of stored words in each step, and when "
        "the network is judged",
    )
    add(
        "--faults.rate",
        default="",
        metavar="R,R",
        type=str,
        help="probability that a bit of the learnt words is wrong, drawn anew in each step; "
        "several rise in equal parts of the training",
    )
    add(
        "--faults.group",
        default="",
        metavar="MAP",
        type=str,
        help=f"hit all words of a group at once, without a rate one a step: {list_maps()}, or "
        "./my_file.py:MyMap",
    )
    add("--faults.bits", default="0-31", metavar="B,B-B", type=str, help="that may be hit")
    add("--faults.models", default="bit-flip", metavar="M,M", type=str, help="fault models of bits")
    add("--faults.layers", default="*", metavar="L,L", type=str, help="site families")
    add("--faults.seed", default=51196, metavar="N", type=NonNegativeInt, help="of their draws")
    add("--clamp", metavar="FILE", type=str, help="bounds of words, as fi.harden writes them")


def find_map(options: Namespace) -> Path | None:
    """The fault list of ``--faults.map``; ``None`` where that is not given.

    Raises:
        UserError: another option says which bits are wrong.
    """
    faults = options.faults
    if faults.map is None:
        return None
    for name, usual in _USUAL_FAULTS.items():
        own = name in ("models", "group") and all(map(names_class, split_words(faults[name])))
        if name != "map" and faults[name] != usual and not own:
            allowed = ": it names classes of yours that faults need" if name == "models" else ""
            raise UserError(
                f"--faults.{name} {faults[name]}: not with --faults.map, whose list says which "
                f"words are wrong, and how{allowed}"
            )
    _load_classes(faults)
    return Path(faults.map)


def _load_classes(faults: Namespace) -> tuple[tuple[str, ...], str]:
    """The names of the fault models and of the map of words, a user's made known."""
    models = tuple(map(load_model, split_words(faults.models)))
    return models, load_map(faults.group) if faults.group else ""


def find_schedule(options: Namespace) -> FaultSchedule | None:
    """Which bits are drawn in the training; ``None`` where none are."""
    faults, rates = options.faults, split_words(options.faults.rate)
    if faults.map is not None:
        return None
    if not rates and not faults.group:
        if vars(faults) != _USUAL_FAULTS:
            raise UserError(
                "--faults.rate is missing: how often a bit is wrong, as 1e-5,1e-4; or "
                "--faults.group, or --faults.map"
            )
        return None
    try:
        found = tuple(map(float, rates))
    except ValueError:
        found = (-1.0,)
    if not all(0 < rate < 1 for rate in found):
        raise UserError(f"--faults.rate {faults.rate}: allowed are numbers between 0 and 1")
    models, group = _load_classes(faults)
    bits, sites = parse_bit_sets(faults.bits), split_words(faults.layers)
    return FaultSchedule(found, bits, models, sites, int(faults.seed), group)


def _add_run(parser: CommandParser) -> None:
    add = parser.add_argument_group("Where to run and to write").add_argument
    add("--accelerator", default="auto", type=str, help="auto, cpu, gpu, ...")
    add("--devices", default="1", type=str, help="how many, or which: 0,2")
    add("--num_nodes", default=1, metavar="N", type=PositiveInt, help="machines")
    add("--strategy", default="auto", type=str, help="Lightning's strategy, as ddp")
    add("--precision", default="32-true", type=str, help="Lightning's precision, as 16-mixed")
    add("--output", default="output", metavar="DIR", type=str, help="folder of all results")
    add("--resume", action="store_true", help="go on where a training was interrupted")
    add("--save", metavar="FILE", type=str, help="where the weights go; below --output")
    add("--quiet", action="store_true", help="no progress bar")
