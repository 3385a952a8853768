"""``python -m fi.harden``: bounds that clamp words and neurons, from golden ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import Namespace

from fi.base.errors import UserError, report_errors
from fi.base.garbage import end_process
from fi.base.user_makers import Maker
from fi.cli.chosen_classes import find_chosen_classes
from fi.cli.execution import run_command
from fi.cli.option_values import split_words
from fi.cli.parser import CommandParser
from fi.cli.test_options import add_network_options

if TYPE_CHECKING:
    from fi.campaign.subject import Subject
    from fi.faults.formats.clamps import Clamps
    from fi.hardening.clamp_bounds import BoundRule

COMMAND = "python -m fi.harden"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; its exit status is 2 after an error, which is printed in one line."""
    return run_command(COMMAND, run, arguments)


def run(argv: list[str]) -> None:
    """Find the bounds, say what they cost without a fault, and write them."""
    parser = make_parser(find_chosen_classes(argv, ("model", "data")))
    options = parser.parse(argv)
    from fi.base.text_files import write_text
    from fi.cli.subject_options import load_subject
    from fi.faults.formats.clamps import clamp_network
    from fi.hardening.clamp_bounds import match_families
    from fi.training.fitting import save_weights

    rule = _read_rule(options)
    subject = load_subject(parser, options)
    with report_errors(ValueError, prefix="--clamp: "):
        families = match_families(split_words(options.clamp), subject.families)
        clamps = _find_bounds(subject, families, rule, parser, options)
        before = _measure(subject)
        clamp_network(subject.network, clamps)
    subject.own.take_anew()
    after = _measure(subject)
    told = (
        f"{subject.name} on {subject.data_name}: golden accuracy {before:.2%} before, {after:.2%} "
        f"with {len(families)} families clamped"
    )
    print(told)
    folder = Path(options.output) / subject.name / "clamps"
    path = Path(options.save) if options.save else folder / "bounds.yaml"
    weights = path.with_suffix(".pt")
    with report_errors(OSError, prefix=f"{path} cannot be written: "):
        write_text(path, clamps.text(f"Of {COMMAND} --clamp '{options.clamp}'\n{told}"))
    save_weights(subject.network, weights)
    print(f"Bounds in {path} (python -m fi.test ... --clamp {path})")
    print(f"Weights as clamped in {weights}")


def _read_rule(options: Namespace) -> BoundRule:
    from fi.faults.formats.clamped_format import BEYOND
    from fi.hardening.clamp_bounds import PER, BoundRule

    if not 50 < options.percentile <= 100:
        raise UserError(f"--percentile {options.percentile:g}: allowed is above 50, 100 at most")
    for name, allowed in (("per", PER), ("beyond", BEYOND)):
        if options[name] not in allowed:
            raise UserError(f"--{name} {options[name]}: allowed are {', '.join(allowed)}")
    if options.training_samples < 1:
        raise UserError(f"--training-samples {options.training_samples}: at least 1 is needed")
    return BoundRule(options.percentile, options.per, options.beyond)


def _find_bounds(
    subject: Subject,
    families: Sequence[object],
    rule: BoundRule,
    parser: CommandParser,
    options: Namespace,
) -> Clamps:
    """Bounds of words as they are, and of neurons as they are on training samples."""
    from fi.campaign.training_data import make_loaders
    from fi.faults.fault_sites import Kind, SiteFamily
    from fi.faults.formats.clamps import Clamps
    from fi.hardening.clamp_bounds import bound_neurons, bound_words
    from fi.network.batches import Batches

    chosen = [family for family in families if isinstance(family, SiteFamily)]
    neurons = [family for family in chosen if family.kind in (Kind.STATE, Kind.SPIKE)]
    words = [family for family in chosen if family not in neurons]
    found = dict(bound_words(subject.network, words, rule).by_family)
    if neurons:
        loader, _ = make_loaders(parser.build(options, "data"))
        number = options.training_samples
        batches = Batches(loader, f"{subject.data_name}, training", number, subject.dtype)
        found |= bound_neurons(subject.network, neurons, rule, subject.infer, batches).by_family
        subject.own.reset()
    return Clamps(found)


def _measure(subject: Subject) -> float:
    """The accuracy without a fault."""
    import torch

    right = samples = 0
    with torch.no_grad():
        for events, labels in subject.batches:
            right += int((subject.infer(events).argmax(1) == labels).sum())
            samples += len(labels)
    subject.own.reset()
    return right / max(1, samples)


def make_parser(classes: Mapping[str, Maker]) -> CommandParser:
    """The parser; ``classes`` are the network and the datamodule where these are known."""
    parser = CommandParser(
        COMMAND,
        "Find bounds of golden words, and of golden membranes and currents on training data, "
        "beyond which a value reads 0, or its bound. fi.test --clamp FILE takes them.",
        classes,
        usage="%(prog)s --model MODEL [options]",
    )
    parser.add_argument("--config", action="config", help="a YAML file of options, or one of ours")
    add_network_options(parser, "What to harden")
    add = parser.add_argument_group("How").add_argument
    add(
        "--clamp",
        default="*.weight,*.bias",
        metavar="L,L",
        type=str,
        help="site families: words, membranes as *.potential, what goes into neurons as "
        "*.current, spikes as *.spike",
    )
    add(
        "--percentile",
        default=100.0,
        metavar="P",
        type=float,
        help="part of the golden values that stay, in %%; 100: bounds are the extremes",
    )
    add("--per", default="channel", type=str, help="bounds of a tensor, or of each output channel")
    add("--beyond", default="zero", type=str, help="what a value beyond them reads: zero, bound")
    add(
        "--training-samples",
        default=1000,
        metavar="N",
        type=int,
        help="on which membranes and currents are observed",
    )
    add = parser.add_argument_group("Output").add_argument
    add("--output", default="output", metavar="DIR", type=str, help="folder of all results")
    add("--save", metavar="FILE", type=str, help="where the bounds go; below --output")
    parser.add_constructors()
    return parser


if __name__ == "__main__":
    end_process(main())
