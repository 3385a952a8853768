"""``python -m fi.train``: train a spiking network and write its weights."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from jsonargparse import Namespace
from jsonargparse.typing import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import nn

from fi.base.errors import UserError
from fi.base.text_files import write_text
from fi.cli.parser import CommandParser, chosen_classes, run_command
from fi.network.batches import Batches
from fi.network.foreign import READOUTS
from fi.training.data import loader
from fi.training.firing import firing_rates
from fi.training.fitting import fit, save_weights
from fi.training.module import Recipe, Training

COMMAND = "python -m fi.train"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; its exit status is 2 after an error, which is printed in one line."""
    return run_command(COMMAND, run, arguments)


def run(argv: list[str]) -> None:
    """Parse, train, write the weights, and print how good they are."""
    parser = command_parser(chosen_classes(argv, ("model", "data")))
    options = parser.parse(argv)
    pl.seed_everything(options.seed, workers=True, verbose=False)  # the first weights, too
    network = parser.built(options, "model")
    if not isinstance(network, nn.Module):
        raise UserError(f"--model {options.model} is no torch.nn.Module")
    data = parser.built(options, "data")
    folder = Path(options.output) / type(network).__name__ / "training" / f"seed{options.seed}"
    path = Path(options.save) if options.save else folder / "weights.pt"
    module = Training(network, recipe_of(options), options.readout, options.time_axis)
    try:
        found = fit(module, data, folder, not options.quiet, **trainer_options(options))
    except KeyboardInterrupt:
        print(f"interrupted; {best_so_far(folder)}", file=sys.stderr)
        raise SystemExit(130) from None
    if module.global_rank == 0:
        save_weights(network, path)
        write_text(folder / "config.yaml", parser.replayable(options, ("quiet", "save")))
        print("\n".join(report(module, data, found)))
        print(f"Weights in {path}")


def best_so_far(folder: Path) -> str:
    """Where the best weights of an interrupted training are."""
    path = folder / "best.ckpt"
    return f"the best weights so far are in {path}" if path.exists() else "nothing is kept"


def default_recipe(network: type | None) -> Recipe:
    """The recipe of a network's class attribute ``default_training``, by name of the option."""
    return Recipe(**getattr(network, "default_training", {}))


def recipe_of(options: Namespace) -> Recipe:
    """How to train, in plain numbers: jsonargparse's own types would get into the checkpoint."""
    return Recipe(**{name: type(value)(options[name]) for name, value in vars(Recipe()).items()})


def trainer_options(options: Namespace) -> dict[str, Any]:
    """Options that Lightning's Trainer knows under the same names."""
    names = ("accelerator", "devices", "num_nodes", "strategy", "precision")
    devices = options.devices
    number = int(devices) if devices.lstrip("-").isdigit() else devices
    return {name: options[name] for name in names} | {"devices": number}


def report(module: Training, data: Any, found: dict[str, float]) -> list[str]:
    """Accuracy on validation and test samples, and how often the neurons fire."""
    lines = []
    if "best_val_accuracy" in found:
        lines.append(f"Validation accuracy {found['best_val_accuracy']:.2%}")
    if hasattr(data, "setup"):
        data.setup("test")
    test = loader(data, "test_dataloader")
    if test is None:
        return lines
    network = module.network.cpu().float().eval()
    batches = Batches(test, type(data).__name__)
    lines.append(f"Test accuracy {accuracy(module, batches):.2%}")
    return lines + [
        f"{name} fires at {rate.mean():.1%} of the steps; "
        f"{(rate == 0).float().mean():.1%} of its neurons never do"
        for name, rate in firing_rates(network, module.logits, batches).items()
    ]


@torch.no_grad()
def accuracy(module: Training, batches: Iterable[Any]) -> float:
    """Part of the samples that the network classifies right."""
    right = total = 0
    for events, labels in batches:
        right += int((module.logits(events).argmax(dim=-1) == labels).sum())
        total += len(labels)
    return right / total


def command_parser(classes: dict[str, type]) -> CommandParser:
    """The parser; ``classes`` are the network and the datamodule where these are known."""
    more = "" if classes else " Name a network to see its arguments: --model MODEL --help."
    parser = CommandParser(
        COMMAND, "Train a spiking network and write its weights." + more, classes
    )
    parser.add_argument("--config", action="config", help="a YAML file of options, as runs write")
    _subject_options(parser)
    _recipe_options(parser, default_recipe(classes.get("model")))
    _run_options(parser)
    parser.add_constructors()
    return parser


def _subject_options(parser: CommandParser) -> None:
    add = parser.add_argument_group("What to train").add_argument
    add("--model", type=str, help="a network of models/, my_package.MyNet or ./my_file.py:MyNet")
    add("--data", type=str, help="a datamodule, named likewise; default: the network's own")
    allowed = ", ".join(READOUTS)
    add("--readout", default="auto", type=str, help=f"what a forward of its own returns: {allowed}")
    add("--time-axis", default=0, metavar="N", type=int, help="where such a forward wants time")


def _recipe_options(parser: CommandParser, recipe: Recipe) -> None:
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


def _run_options(parser: CommandParser) -> None:
    add = parser.add_argument_group("Where to run and to write").add_argument
    add("--accelerator", default="auto", type=str, help="auto, cpu, gpu, ...")
    add("--devices", default="1", type=str, help="how many, or which: 0,2")
    add("--num_nodes", default=1, metavar="N", type=PositiveInt, help="machines")
    add("--strategy", default="auto", type=str, help="Lightning's strategy, as ddp")
    add("--precision", default="32-true", type=str, help="Lightning's precision, as 16-mixed")
    add("--output", default="output", metavar="DIR", type=str, help="folder of all results")
    add("--save", metavar="FILE", type=str, help="where the weights go; below --output")
    add("--quiet", action="store_true", help="no progress bar")


if __name__ == "__main__":
    sys.exit(main())
