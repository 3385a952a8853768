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
        "network": network_hash(subject.network),
        "weights": weights,
        "data": str(subject.batches.digest),
        "golden": golden.digest,
        "faults": schedule.digest,
        "precision": settings.hardware.precision,
        "engine": engine,
        **_identify_special(subject, schedule, settings.ecc),
    }
    given = Path(source.name)
    name = schedule.name_list(given.stem, make_tag(identity))
    root = settings.output / subject.name
    kind = schedule.protected_file if settings.ecc else schedule.results_file
    files = CampaignFiles(root, name, identity, settings.shard, kind)
    return RunBasis(golden, files, replace(source, name=f"{name}{given.suffix}"))


def _identify_special(subject: Subject, schedule: ListedFaults, ecc: str) -> dict[str, str]:
    """What else the results depend on, where it is not the usual."""
    special = schedule.identify()
    if subject.word_format != FLOAT32.name:
        special["format"] = subject.word_format
    if subject.state_format != FLOAT32.name:
        special["state_format"] = subject.state_format
    if ecc:
        special["ecc"] = ecc
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


def open_pairs(basis: RunBasis, done: Collection[int], wanted: bool) -> bool:
    """Whether pairs are kept: where it is ``wanted``, and where an earlier run has begun to.

    Args:
        basis: of the run, whose folder this process holds.
        done: the trials that have results.
        wanted: ``--save-pairs``.

    Raises:
        UserError: there are results without pairs.
    """
    pairs = basis.files.pairs
    if not wanted and not pairs.exists():
        return False
    if not pairs.exists() and done:
        raise UserError(
            f"--save-pairs: {len(done)} faults in {basis.files.path} were run without it; "
            "--overwrite runs them again"
        )
    pairs.start(basis.golden.samples)
    pairs.keep(done)
    return True
