"""``python -m fi.test``: one fault-injection campaign, from options to the result table."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from jsonargparse import Namespace
from torch import nn

from fi.analyse import show_table, write_table
from fi.campaign import Campaign
from fi.checkpoint import load_checkpoint
from fi.cli import CommandParser, chosen_classes, run_command
from fi.dry_run import show_plan
from fi.errors import UserError, reported
from fi.fault_list import read_fault_list, write_fault_list
from fi.faults import Fault
from fi.sampling import SamplingPlan, draw
from fi.space import FaultSpace
from fi.subject import Subject
from fi.summary import ListRecord
from fi.test_options import COMMAND, NOT_REPLAYED, command_parser, plan_of, settings_of
from fi.verify import ContractBroken, verify


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; exit status 2 after an error, 1 where ``--verify`` finds the contract broken."""
    try:
        return run_command(COMMAND, run, arguments)
    except ContractBroken as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def run(argv: list[str]) -> None:
    """Parse, plan, run, and print the table."""
    parser = command_parser(chosen_classes(argv, ("model", "data")))
    options = parser.parse(argv)
    plan, settings = plan_of(options), settings_of(options)
    subject = subject_of(parser, options)
    faults, space, path = listed_faults(options, subject, plan)
    drawn = options.fault_list is None
    source = _source(path, plan.scheme if drawn else "list", space)
    if options.threads:
        torch.set_num_threads(options.threads)
    campaign = Campaign(
        subject,
        faults,
        settings,
        source,
        config=parser.replayable(options, NOT_REPLAYED),
        options=_plain(options),
        say=_silent if options.quiet else print,
    )
    if options.dry_run:
        return show_plan(campaign, space, plan if drawn else None)
    if drawn and campaign.trainer.is_global_zero:
        write_fault_list(path, faults)
    results = campaign.run()
    if campaign.trainer.is_global_zero and campaign.files is not None:
        folder = campaign.files.path
        show_table(folder, write_table(folder))
        print(f"Results in {folder}")
    if options.verify:
        _verify(campaign, results, options)
    return None


def _verify(campaign: Campaign, results: pd.DataFrame, options: Namespace) -> None:
    """``--verify``: say and note what the full engine finds."""
    found = verify(campaign, results, options.verify, options.seed)
    if campaign.trainer.is_global_zero and campaign.files is not None:
        print(found)
        campaign.files.add_to_summary(verified=found.summary())
    found.check()


def subject_of(parser: CommandParser, options: Namespace) -> Subject:
    """The network with its weights, and the data, as the options name them."""
    torch.manual_seed(options.seed)
    network = parser.built(options, "model")
    if not isinstance(network, nn.Module):
        raise UserError(f"--model {options.model} is no torch.nn.Module")
    path = checkpoint_of(network, options.checkpoint)
    if path is not None:
        load_checkpoint(network, path)
    return Subject(
        network,
        parser.built(options, "data"),
        readout=options.readout,
        time_axis=options.time_axis,
        limit=options.limit_samples,
    )


def checkpoint_of(network: nn.Module, given: str | None) -> Path | None:
    """The file of the weights: the given one, or the network's own beside its module."""
    if given is not None:
        return None if given == "none" else Path(given)
    default = getattr(network, "default_checkpoint", None)
    if default is None:
        return None
    path = Path(inspect.getfile(type(network))).resolve().parent / "pretrained" / default
    if not path.is_file():
        raise UserError(
            f"{type(network).__name__} comes without weights: give --checkpoint FILE "
            "(python -m fi.train writes one), or --checkpoint none for random ones"
        )
    return path


def listed_faults(
    options: Namespace, subject: Subject, plan: SamplingPlan
) -> tuple[list[Fault], FaultSpace, Path]:
    """The faults, the space that they are from, and the file of the list (written or to be)."""
    lists = Path(options.output) / "fault_list" / subject.name
    with reported(ValueError):
        if options.fault_list is None:
            space = plan.space(subject.families, subject.steps)
            return draw(space, plan), space, lists / plan.list_name
        path = found_list(options.fault_list, lists)
        faults = read_fault_list(path, subject.families, subject.steps)
        return faults, space_around(faults, subject), path


def found_list(given: str, lists: Path) -> Path:
    """A bare name is looked up in ``lists``, a path is taken as it is."""
    path = Path(given)
    if path.name == given and (lists / given).exists():
        return lists / given
    if path.exists() or path.name != given:
        return path
    known = ", ".join(sorted(p.name for p in lists.glob("*_fault_list.csv"))) or "none"
    raise UserError(f"--fault-list {given}: there is no such list in {lists}; known: {known}")


def space_around(faults: Sequence[Fault], subject: Subject) -> FaultSpace:
    """The space that a list may have been drawn from: its models, all bits, all sites."""
    models = tuple(dict.fromkeys(fault.model for fault in faults))
    permanent = all(fault.step is None for fault in faults)
    steps = (None,) if permanent else tuple(range(subject.steps))
    return FaultSpace(tuple(subject.families), models, steps=steps)


def _source(path: Path, scheme: str, space: FaultSpace) -> ListRecord:
    populations = {family.name: space.size_of(family) for family in space.families}
    return ListRecord(path.name, scheme, populations)


def _plain(options: Namespace) -> dict[str, Any]:
    """The options that are set, flat."""
    flat = vars(options.as_flat())
    return {key: value for key, value in flat.items() if value is not None and key != "config"}


def _silent(line: str) -> None:
    """Say nothing."""


if __name__ == "__main__":
    sys.exit(main())
