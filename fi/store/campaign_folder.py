"""The files that a running campaign writes."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import pandas as pd

from fi.base.errors import UserError
from fi.base.folder_lock import LOCK_NAME, lock_folder
from fi.base.text_files import FileError, write_text
from fi.faults.fault import Fault
from fi.sampling.shards import Shard
from fi.store.identity import json_hash, text_hash
from fi.store.pairs_file import PAIRS_NAME, PairsFile
from fi.store.results_file import ResultsFile
from fi.store.results_rows import RESULT_COLUMNS, ResultsError
from fi.store.summary_file import list_differences, read_summary, write_summary

#: Raised when the columns or their meaning change: results of another version do not belong.
COUNTS_VERSION = 3


class CampaignFiles:
    """``output/<model>/<list name>-<hash>``: results, configuration and summary of one campaign.

    A shard has a folder of its own in that of its campaign, ``shard-3-of-16``.

    Args:
        root: the folder of the model, ``output/<model>``.
        list_name: of the fault list, without its ending.
        identity: hashes of everything that the results depend on; their hash ends the name.
        shard: the part of the list that is run, where it is a part.
        kind: of the results file.
    """

    def __init__(
        self,
        root: Path,
        list_name: str,
        identity: Mapping[str, str],
        shard: Shard | None = None,
        kind: type[ResultsFile] = ResultsFile,
    ) -> None:
        self.identity = complete_identity(identity)
        self.campaign = root / f"{list_name}-{make_tag(identity)}"
        self.path = self.campaign / shard.folder if shard else self.campaign
        self.results = kind(self.path / "results.csv")
        self.pairs = PairsFile(self.path / PAIRS_NAME)
        self.shard = shard
        self._list_name = list_name

    def lock(self) -> AbstractContextManager[None]:
        """Hold the folder against other processes; ``FolderInUse`` where one has it."""
        return lock_folder(self.path)

    def tidy(self) -> None:
        """Remove the drafts of files that a killed run was about to replace."""
        for draft in self.path.glob(".*.tmp"):
            draft.unlink()

    def remove_unused(self) -> None:
        """Remove the folder, which this process holds, where nothing is in it yet."""
        if all(path.name == LOCK_NAME for path in self.path.iterdir()):
            shutil.rmtree(self.path)

    def clear(self) -> None:
        """Remove the results of an earlier run, to start again."""
        self.results.path.unlink(missing_ok=True)
        self.pairs.path.unlink(missing_ok=True)
        (self.path / "summary.json").unlink(missing_ok=True)
        if (self.path / "tensorboard").exists():
            shutil.rmtree(self.path / "tensorboard")

    def load_earlier(
        self, list_faults: Callable[[pd.DataFrame], Sequence[Fault]], constant: Mapping[str, int]
    ) -> pd.DataFrame:
        """What an earlier run finished; a row that it could not end is dropped.

        Args:
            list_faults: gives the fault list, as far as the stored results determine it.
            constant: columns that have one value in every row, and that value.

        Raises:
            ResultsError: the file is damaged, or belongs to another campaign or list.
        """
        if not self.results.path.exists():
            return self.results.nothing()
        self._check_identity()
        self.results.check_constant(constant)
        faults = list_faults(self.results.load(whole=False))  # nothing is written to a damaged file
        self.results.check_belongs(faults)
        self.results.repair()
        self.results.drop_unfinished(faults)
        return self.results.load()

    def _check_identity(self) -> None:
        """Raise ``ResultsError`` where the summary beside the results is not this campaign's."""
        path = self.results.path
        if not (summary := self.load_summary()):
            raise ResultsError(
                f"{path}: no summary.json beside it says what it belongs to; --overwrite starts "
                "again, --output takes another folder"
            )
        if differing := list_differences(self.identity, summary.get("hashes")):
            raise ResultsError(
                f"{path} belongs to another campaign: other {', '.join(differing)}; "
                "--overwrite starts again, --output takes another folder"
            )

    def load_summary(self) -> dict[str, Any]:
        """What ``summary.json`` says; empty where there is none.

        Raises:
            FileError: it cannot be read.
        """
        path = self.path / "summary.json"
        return read_summary(path) if path.exists() else {}

    @property
    def finished(self) -> bool:
        """Whether the summary says that an earlier run came to its end."""
        return bool(self.load_summary().get("status") == "finished")

    def find_siblings(self) -> dict[Path, list[str]]:
        """Other campaigns on a list of this name, and in what they differ."""
        siblings = {}
        for path in sorted(self.campaign.parent.glob(f"{self._list_name}-*/summary.json")):
            with suppress(FileError):  # its own campaign reports a damaged one
                hashes = read_summary(path).get("hashes")
                if hashes and path.parent != self.campaign:
                    siblings[path.parent] = list_differences(self.identity, hashes)
        return siblings

    def load_decision_counts(self) -> dict[str, int]:
        """How the pairs of earlier runs were decided."""
        return dict(self.load_summary().get("decided", {}))

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Replace ``summary.json``."""
        write_summary(self.path, summary)

    def add_to_summary(self, **entries: Any) -> None:
        """Put further entries into ``summary.json``."""
        with self.lock():
            self.write_summary({**self.load_summary(), **entries})

    def write_config(self, config: str) -> None:
        """Replace ``config.yaml``, which ``--config`` replays."""
        write_text(self.path / "config.yaml", config)


def complete_identity(identity: Mapping[str, str]) -> dict[str, str]:
    """``identity`` with the versions of what is counted and how it is stored."""
    schema = text_hash(",".join(RESULT_COLUMNS))
    return dict(identity, counts=f"{COUNTS_VERSION}", columns=schema)


def make_tag(identity: Mapping[str, str]) -> str:
    """The eight hexadecimal digits by which a campaign's folder ends."""
    return json_hash(complete_identity(identity))[:8]


@contextmanager
def report_disk_errors(folder: Path) -> Iterator[None]:
    """Report errors of the file system in one line: what is stored is kept, whatever they are."""
    usual = threading.excepthook

    def hook(problem: threading.ExceptHookArgs) -> None:
        if not isinstance(problem.exc_value, OSError):  # TensorBoard's writer raises it here again
            usual(problem)

    threading.excepthook = hook
    try:
        yield
    except OSError as error:
        what = error.filename or folder
        raise UserError(
            f"{what} cannot be written: {error.strerror or error}; what is stored is kept, "
            "the same command continues"
        ) from error
    finally:
        threading.excepthook = usual
