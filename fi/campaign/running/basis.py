"""What a run of a campaign stands on, and what tells that campaign from others."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from fi.base.errors import UserError
from fi.campaign.golden_run import GoldenRun
from fi.campaign.ranks import Processes
from fi.campaign.schedule import ListedFaults
from fi.campaign.settings import Settings
from fi.campaign.subject import Subject
from fi.faults.fault import Fault
from fi.faults.models import user_model_sources
from fi.faults.word_formats import FLOAT32
from fi.store.campaign_folder import CampaignFiles, make_tag
from fi.store.identity import network_hash, text_hash
from fi.store.pairs_file import PairsHead
from fi.store.run_summary import ListRecord


@dataclass(frozen=True)
class RunBasis:
    """What a run of a campaign stands on; it is known after the golden run.

    Attributes:
        golden: the golden run.
        files: of the campaign, in a folder that is called by what the results depend on.
        source: where the list comes from; a list that grows is called by the campaign.
    """

    golden: GoldenRun
    files: CampaignFiles
    source: ListRecord


def find_basis(
    subject: Subject,
    weights: str,
    golden: GoldenRun,
    schedule: ListedFaults,
    settings: Settings,
    engine: str,
    source: ListRecord,
) -> RunBasis:
    """The files of a campaign, and the name of its list.

    Args:
        subject: the network and its test set.
        weights: the hash of the network's words before it was put into the run's precision.
        golden: the golden run.
        schedule: the fault list.
        settings: how it is run.
        engine: the name of the engine.
        source: where the list comes from, under the name that the user knows.
    """
    identity = {
        **identify_subject(subject, weights, golden),
        "faults": schedule.digest,
        "precision": settings.hardware.precision,
        "engine": engine,
        **_identify_special(subject, schedule, settings),
    }
    given = Path(source.name)
    name = schedule.name_list(given.stem, make_tag(identity))
    root, code = settings.output / subject.name, schedule.protection
    kind = schedule.results_file if code is None else schedule.protected_file
    files = CampaignFiles(root, name, identity, settings.shard, kind)
    return RunBasis(golden, files, replace(source, name=f"{name}{given.suffix}"))


def identify_subject(subject: Subject, weights: str, golden: GoldenRun) -> dict[str, str]:
    """What the results depend on beside the faults and the engine, a hash each.

    Args:
        subject: the network and its test set, after a pass over it.
        weights: the hash of the network's words before it was put into the run's precision.
        golden: the golden run.
    """
    return {
        "network": network_hash(subject.network),
        "weights": weights,
        "data": str(subject.batches.digest),
        "golden": golden.digest,
    }


def _identify_special(
    subject: Subject, schedule: ListedFaults, settings: Settings
) -> dict[str, str]:
    """What else the results depend on, where it is not the usual."""
    special = schedule.identify()
    if subject.word_format != FLOAT32.name:
        special["format"] = subject.word_format
    if subject.state_format != FLOAT32.name:
        special["state_format"] = subject.state_format
    if subject.clamps is not None:
        special["clamp"] = subject.clamps.digest
    if settings.ecc:
        special["ecc"] = settings.ecc
    if settings.protection is not None:
        special["protect"] = settings.protection.digest
    if own := user_model_sources(schedule.models):
        special["models"] = text_hash("\n".join(own))
    return special


@contextmanager
def hold_folder(
    basis: RunBasis, schedule: ListedFaults, processes: Processes, overwrite: bool
) -> Iterator[pd.DataFrame]:
    """Hold the folder in the first process; the results that earlier runs left there.

    Args:
        basis: of the run.
        schedule: the fault list, which is extended as far as these results determine it.
        processes: of the campaign.
        overwrite: remove what is there first.

    Raises:
        FolderInUse: another campaign has the folder.
        ResultsError: the results there are damaged, or do not belong.
    """
    files, golden = basis.files, basis.golden

    def replay(results: pd.DataFrame) -> Sequence[Fault]:
        schedule.replay(results)
        return schedule.faults

    def open_folder() -> pd.DataFrame:
        held.enter_context(files.lock())
        files.tidy()
        if overwrite:
            files.clear()
        constant = {"samples": golden.samples, "golden_correct": golden.correct}
        return files.load_earlier(replay, constant)

    with ExitStack() as held:
        earlier = processes.run_on_first(open_folder)
        if not schedule.complete:  # the first process has replayed what was stored
            schedule.catch_up(processes.run_on_first(lambda: schedule.listed))
        yield earlier


def choose_level(files: CampaignFiles, done: Collection[int], wanted: str) -> str:
    """What of the pairs is kept: what is ``wanted``, or what an earlier run has begun to keep.

    Args:
        files: of the campaign, whose folder this process holds.
        done: the trials that have results.
        wanted: ``--save-pairs``.

    Returns:
        One of ``LEVELS``; empty where no pairs are kept.

    Raises:
        UserError: there are results without pairs, or with others.
    """
    pairs = files.pairs
    if not pairs.exists():
        if wanted and done:
            raise UserError(
                f"--save-pairs: {len(done)} faults in {files.path} were run without it; "
                "--overwrite runs them again"
            )
        return wanted
    level = pairs.read_head().level
    if wanted and wanted != level:
        raise UserError(
            f"--save-pairs {wanted}: {pairs.path} has {level}; --overwrite runs all faults again"
        )
    return level


def open_pairs(basis: RunBasis, done: Collection[int], head: PairsHead | None) -> None:
    """Begin the file of pairs, or go on with that of an earlier run.

    Args:
        basis: of the run, whose folder this process holds.
        done: the trials that have results.
        head: what is kept of every pair; ``None`` where nothing is.

    Raises:
        UserError: the file of the earlier run has something else.
    """
    if head is None:
        return
    pairs = basis.files.pairs
    pairs.start(head)
    before = pairs.read_head()
    if list(before.monitors) != list(head.monitors):
        names = ",".join(before.monitors) or "none"
        raise UserError(
            f"{pairs.path} has the monitors {names}: --monitor {names} goes on with them, "
            "--overwrite runs all faults again"
        )
    if before != head:
        raise UserError(
            f"{pairs.path}: the monitors of an earlier run were others, or have learnt something "
            "else; --overwrite runs all faults again"
        )
    pairs.keep(done)
