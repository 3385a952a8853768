"""``python -m fi.pt_to_csv``: saved score tensors and labels as CSV files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fi.base.garbage import end_process
from fi.cli.execution import run_command
from fi.cli.parser import CommandParser
from fi.store.campaign_reader import class_name


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; its exit status is 2 after an error, which is printed in one line."""
    return run_command("python -m fi.pt_to_csv", run, arguments)


def run(argv: list[str]) -> None:
    """The command with these arguments; ``UserError`` says what is wrong."""
    options = _parser().parse(argv)
    from fi.store.score_tables import convert_scores  # PyTorch takes a second

    written = convert_scores(options.model, options.batch_size, options.output)
    print(f"{written} files written to {Path(options.output, class_name(options.model), 'csv')}")


def _parser() -> CommandParser:
    parser = CommandParser(
        "python -m fi.pt_to_csv",
        "Convert the saved scores and labels of a network, OUTPUT/MODEL/pt, to CSV files in "
        "OUTPUT/MODEL/csv.",
        {},
        usage="%(prog)s --model MODEL --batch-size B [options]",
    )
    parser.add_argument("--model", type=str, required=True, help="name of the network, as CSNN")
    parser.add_argument(
        "--batch-size", type=int, required=True, help="the batch size of the run that saved them"
    )
    parser.add_argument("--output", type=str, default="output", help="the folder of all results")
    return parser


if __name__ == "__main__":
    end_process(main())
