"""The files that a running campaign writes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from fi.faults import Fault
from fi.files import FileError, read_text, write_text
from fi.hashes import json_hash
from fi.results import RESULT_COLUMNS, ResultsFile

#: Raised when the columns or their meaning change: results of another version do not belong.
COUNTS_VERSION = 2


class CampaignFiles:
    """``output/<model>/<list name>-<hash>``: results, configuration and summary of one campaign.

    Args:
        root: the folder of the model, ``output/<model>``.
        list_name: of the fault list, without its ending.
        identity: hashes of everything that the results depend on; their hash ends the name.
    """

    def __init__(self, root: Path, list_name: str, identity: Mapping[str, str]) -> None:
        self.identity = dict(identity, counts=str(COUNTS_VERSION))
        self.path = root / f"{list_name}-{json_hash(self.identity)[:8]}"
        self.results = ResultsFile(self.path / "results.csv")

    def clear(self) -> None:
        """Remove the results of an earlier run, to start again."""
        self.results.path.unlink(missing_ok=True)
        (self.path / "summary.json").unlink(missing_ok=True)
        if (self.path / "tensorboard").exists():
            shutil.rmtree(self.path / "tensorboard")

    def earlier(self, faults: Sequence[Fault], repair: bool = True) -> pd.DataFrame:
        """What an earlier run finished; a row that it could not end is dropped.

        Raises:
            ResultsError: the file is damaged, or holds faults that are not in the list.
        """
        if repair:
            self.results.repair()
        if not self.results.path.exists():
            return pd.DataFrame(columns=list(RESULT_COLUMNS))
        if repair:
            self.results.drop_unfinished(faults)
        self.results.check_belongs(faults)
        return self.results.load()

    @property
    def finished(self) -> bool:
        """Whether the summary says that an earlier run came to its end.

        Raises:
            FileError: the summary cannot be read.
        """
        path = self.path / "summary.json"
        if not path.exists():
            return False
        try:
            return bool(json.loads(read_text(path, FileError))["status"] == "finished")
        except (ValueError, KeyError, TypeError) as error:
            raise FileError(f"{path} is damaged ({error}); --overwrite starts again") from error

    def decided(self) -> dict[str, int]:
        """How the pairs of earlier runs were decided, as far as these came to their end."""
        path = self.path / "summary.json"
        if not path.exists():
            return {}
        return dict(json.loads(read_text(path, FileError)).get("decided", {}))

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Replace ``summary.json``."""
        text = json.dumps(dict(summary), indent=2, ensure_ascii=False)
        write_text(self.path / "summary.json", text + "\n")

    def add_to_summary(self, **entries: Any) -> None:
        """Put further entries into ``summary.json``."""
        known = json.loads(read_text(self.path / "summary.json", FileError))
        self.write_summary({**known, **entries})

    def write_config(self, config: str) -> None:
        """Replace ``config.yaml``, which ``--config`` replays."""
        write_text(self.path / "config.yaml", config)
