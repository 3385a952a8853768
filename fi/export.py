"""``python -m fi.export``: write a network as a NIR file, which other frameworks and chips read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from fi.base.errors import UserError
from fi.base.garbage import end_process
from fi.base.user_makers import Maker
from fi.cli.chosen_classes import find_chosen_classes
from fi.cli.execution import run_command
from fi.cli.nir_options import is_nir_file
from fi.cli.parser import CommandParser
from fi.cli.test_options import add_network_options

COMMAND = "python -m fi.export"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; its exit status is 2 after an error, which is printed in one line."""
    return run_command(COMMAND, run, arguments)


def run(argv: list[str]) -> None:
    """Load the network, write the file, read it back, and print what it does not say."""
    parser = make_parser(find_chosen_classes(argv, ("model", "data")))
    options = parser.parse(argv)
    if is_nir_file(options.model):
        raise UserError(f"--model {options.model}: it is a NIR file already")
    if options.save is None:
        raise UserError("--save is missing: the NIR file to write, net.nir")
    from fi.cli.subject_options import load_subject
    from fi.exchange.exporting import export_network
    from fi.exchange.rules import Discretisation

    subject = load_subject(parser, options)
    if subject.staged is None:
        raise UserError(f"{subject.name} has no stages: {subject.why_not_recorded}")
    chosen = Discretisation("snntorch", options.dt, "subtract")
    events, _ = subject.batches.first()
    path = Path(options.save)
    for line in export_network(subject.network, subject.staged, events, path, chosen):
        print(line)


def make_parser(classes: Mapping[str, Maker]) -> CommandParser:
    """The parser; ``classes`` are the network and the datamodule where these are known."""
    parser = CommandParser(
        COMMAND,
        "Write a network as a file of the Neuromorphic Intermediate Representation (NIR), by "
        "snnTorch's rule. The data are for shapes, and to compare what is read back.",
        classes,
        usage="%(prog)s --model MODEL --save FILE.nir [options]",
    )
    parser.add_argument("--config", action="config", help="a YAML file of options, or one of ours")
    add_network_options(parser, "What to export")
    add = parser.add_argument_group("Output").add_argument
    add("--save", metavar="FILE", type=str, help="the file to write, net.nir")
    add("--dt", default=1e-4, metavar="S", type=float, help="seconds of a step, for time constants")
    parser.add_constructors()
    return parser


if __name__ == "__main__":
    end_process(main())
