"""``faulty-snn``, and ``python -m fi``: the commands by one name.

``faulty-snn test --model CSNN`` is ``python -m fi.test --model CSNN``. No command is imported but
the one that runs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

from fi.base.garbage import end_process

#: Command -> what it does; ``fi.test`` is the module of ``test``.
COMMANDS = {
    "test": "run a fault-injection campaign and print what the faults did",
    "analyse": "print the result table of a campaign, also by layer, bit or step",
    "report": "write the report of a campaign, one page",
    "compare": "compare two campaigns on the same faults",
    "coverage": "choose the few samples that detect the critical faults",
    "protect": "choose what to protect under a budget, and tell the risk that is left",
    "harden": "find bounds that clamp words and membranes",
    "merge": "put the shards of a campaign together",
    "train": "train a spiking network and write its weights",
    "benchmark": "measure how fast the engines are",
    "export": "write a network as a NIR file",
    "pt_to_csv": "convert saved scores and labels to CSV files",
}
_PACKAGES = {"report": "fi.report.command"}


def run_and_end() -> NoReturn:
    """``main`` as a process: it ends with the exit status."""
    end_process(main())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that is named first; its exit status, 2 where there is no such command."""
    argv = list(sys.argv[1:] if arguments is None else arguments)
    if not argv or argv[0] in ("-h", "--help"):
        print(format_help())
        return 0
    name, *rest = argv
    if name not in COMMANDS:
        print(f"error: unknown command {name!r}; known: {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # as ``python -m`` does: a user's modules are found there
    status: int = import_module(_PACKAGES.get(name, f"fi.{name}")).main(rest)
    return status


def format_help() -> str:
    """The commands, a line each."""
    width = max(map(len, COMMANDS)) + 2
    return "\n".join(
        [
            "usage: faulty-snn COMMAND [options]\n",
            "Fault injection for spiking neural networks in snnTorch.\n",
            "commands:",
            *(f"  {name:{width}}{what}" for name, what in COMMANDS.items()),
            "\nThe options of a command: faulty-snn COMMAND --help",
        ]
    )
