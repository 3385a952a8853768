"""The folder of a campaign, ``output/<model>/<list name>-<hash>``, as it is read afterwards."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fi.base.text_files import FileError, read_text
from fi.statistics.intervals import DEFAULT_METHOD, check_method
from fi.statistics.survey_design import Design
from fi.store.rate_results import RateResultsFile
from fi.store.results_file import ResultsFile

_HASH = re.compile("[0-9a-f]+")


class CampaignNotFound(FileError):
    """There is no such campaign; names the ones that are there."""


@dataclass(frozen=True)
class Summary:
    """What ``summary.json`` says of a campaign, as far as the result table needs it.

    Attributes:
        model: the network.
        status: started, finished, interrupted or failed.
        batches, samples: of the test set.
        confidence: nominal coverage of the intervals.
        interval: the method of the intervals; the default where an older campaign names none.
        design: how the faults were drawn, and from which.
    """

    model: str
    status: str
    batches: int
    samples: int
    confidence: float
    design: Design
    interval: str = DEFAULT_METHOD

    @property
    def scheme(self) -> str:
        """How the faults were drawn; ``list`` is not known."""
        return self.design.scheme

    @property
    def populations(self) -> dict[str, int | None]:
        """Site family -> its faults in the fault space, in the order of the network."""
        sizes = self.design.cells().groupby("family")["population"].sum()
        known = self.design.known
        return {f.name: int(sizes[f.name]) if known else None for f in self.design.families}


@dataclass(frozen=True)
class PastCampaign:
    """One campaign on disk."""

    path: Path

    @property
    def results(self) -> ResultsFile:
        """One row a fault."""
        return ResultsFile(self.path / "results.csv")

    @property
    def is_of_rates(self) -> bool:
        """Whether it has a row a trial of a rate; ``FileError`` where its summary is damaged."""
        path = self.path / "summary.json"
        entries: Any = self.entries() if path.exists() else {}
        return isinstance(entries, dict) and isinstance(entries.get("rates"), dict)

    @property
    def rate_results(self) -> RateResultsFile:
        """One row a trial, of a campaign of rates."""
        return RateResultsFile(self.path / "results.csv")

    def refuse_rates(self, doing: str) -> None:
        """Raise ``FileError`` for a campaign of rates, which ``doing`` is not for."""
        if self.is_of_rates:
            raise FileError(
                f"{self.path} is a campaign of rates (--faults.rate), a row a trial; {doing} is "
                "for campaigns of single faults"
            )

    @property
    def list_name(self) -> str:
        """The name of its fault list, without the ending: ``51196_fault_list``."""
        return self.path.name.rpartition("-")[0]

    @property
    def table_path(self) -> Path:
        """``output/fault_list/<model>/<list name>_result.csv``."""
        output, model = self.path.parent.parent, self.path.parent.name
        return output / "fault_list" / model / f"{self.list_name}_result.csv"

    def entries(self) -> dict[str, Any]:
        """All that ``summary.json`` says; ``FileError`` where it cannot be read."""
        path = self.path / "summary.json"
        try:
            entries: dict[str, Any] = json.loads(read_text(path, FileError))
        except RecursionError:
            raise FileError(f"{path}: not the summary of a campaign: nested too deep") from None
        except json.JSONDecodeError as problem:
            raise FileError(f"{path}:{problem.lineno}: not JSON: {problem.msg}") from None
        return entries

    def summary(self) -> Summary:
        """What was run; ``FileError`` names the file and the key that is missing or wrong."""
        path = self.path / "summary.json"
        try:
            return _summary(self.entries())
        except KeyError as problem:
            raise FileError(f"{path}: the key {problem} is missing") from None
        except (TypeError, AttributeError, ValueError) as problem:
            raise FileError(f"{path}: not the summary of a campaign: {problem}") from None


def _summary(entries: dict[str, Any]) -> Summary:
    return Summary(
        entries["model"],
        entries["status"],
        entries["batches"],
        entries["samples"],
        entries["confidence"],
        Design.from_record(entries["draw"]),
        _read_method(entries),
    )


def _read_method(entries: dict[str, Any]) -> str:
    """The method of the intervals; ``ValueError`` for an unknown one."""
    method = str(entries.get("interval", DEFAULT_METHOD))
    check_method(method)
    return method


def class_name(model: str) -> str:
    """The name that results are filed under, of ``MyNet``, ``my.MyNet`` or ``./my.py:MyNet``."""
    return re.split("[.:]", model)[-1]


def newest_campaign(output: Path, model: str, fault_list: str) -> PastCampaign:
    """The last campaign of ``model`` on the list of that name or path.

    Raises:
        CampaignNotFound: there is no output of the model, or no campaign on the list.
    """
    folder = output / class_name(model)
    if not folder.is_dir():
        raise CampaignNotFound(f"no results of {model!r} in {output}; there are: {_models(output)}")
    wanted = Path(fault_list).stem
    campaigns = [campaign for path in folder.iterdir() if (campaign := _campaign(path))]
    found = [campaign for campaign in campaigns if campaign.list_name in (wanted, fault_list)]
    if not found:
        lists = sorted({campaign.list_name for campaign in campaigns})
        raise CampaignNotFound(
            f"no campaign on the fault list {wanted!r} in {folder}; "
            f"there are campaigns on: {', '.join(lists) or 'none'}"
        )
    return max(found, key=lambda campaign: (_age_mark(campaign), campaign.path.name))


def _campaign(path: Path) -> PastCampaign | None:
    """The campaign in the folder ``path``, if that is one."""
    name, _, tag = path.name.rpartition("-")
    is_one = name and _HASH.fullmatch(tag) and (path / "results.csv").is_file()
    return PastCampaign(path) if is_one else None


def _age_mark(campaign: PastCampaign) -> int:
    return campaign.results.path.stat().st_mtime_ns


def _models(output: Path) -> str:
    if not output.is_dir():
        return "none, the folder does not exist"
    names = {path.parent.parent.name for path in output.glob("*/*-*/results.csv")}
    return ", ".join(sorted(names)) or "none"
