"""``python -m fi.merge``: the shards of a campaign put together, as if it had been run in one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fi.base.garbage import end_process
from fi.cli.execution import run_command
from fi.cli.parser import CommandParser
from fi.report.terminal.campaign_end import show_whole
from fi.store.merging import COMMAND, merge


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; its exit status is 2 after an error, which is printed in one line."""
    return run_command(COMMAND, run, arguments)


def run(argv: list[str]) -> None:
    """The command with these arguments; ``UserError`` says what is wrong."""
    options = _parser().parse(argv)
    folders = [Path(folder) for folder in options.folders]
    target = merge(folders, Path(options.output) if options.output else None)
    show_whole(target, figures=True)


def _parser() -> CommandParser:
    parser = CommandParser(
        COMMAND,
        "Put the shards of a campaign (python -m fi.test --shard 3/16) together.",
        {},
        usage="%(prog)s FOLDER [FOLDER ...] [--output DIR]",
    )
    parser.add_argument(
        "folders",
        nargs="+",
        metavar="FOLDER",
        type=str,
        help="of the campaign, output/MODEL/LIST-HASH; of each machine, where they have their own",
    )
    parser.add_argument(
        "--output", metavar="DIR", type=str, help="folder of all results; default: as the first"
    )
    return parser


if __name__ == "__main__":
    end_process(main())
