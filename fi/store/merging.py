"""The shards of a campaign put together, as if it had been run in one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import yaml

from fi.base.folder_lock import lock_folder
from fi.base.text_files import FileError, csv_text, read_text, write_text
from fi.faults.csv_row import FAULT_COLUMNS
from fi.sampling.shards import Shard, interleave, parse_shard_folder
from fi.store.campaign_folder import report_disk_errors
from fi.store.decisions import add_decision_counts
from fi.store.identity import text_hash
from fi.store.pairs_file import PAIRS_NAME, PairsFile
from fi.store.rate_results import TRIAL_COLUMNS, RateResultsFile
from fi.store.results_file import ResultsFile
from fi.store.run_summary import sum_runs
from fi.store.summary_file import list_differences, read_summary, write_summary

COMMAND = "python -m fi.merge"


class MergeError(FileError):
    """Shards that cannot be put together; names what is missing or does not belong."""


@dataclass(frozen=True)
class Part:
    """One shard on disk: its folder, and what its summary says."""

    shard: Shard
    path: Path
    summary: Mapping[str, Any]

    @property
    def of_rates(self) -> bool:
        """Whether it is of a campaign of rates."""
        return isinstance(self.summary.get("rates"), dict)

    @property
    def results(self) -> ResultsFile:
        """Its rows."""
        kind = RateResultsFile if self.of_rates else ResultsFile
        return kind(self.path / "results.csv")

    @property
    def complaint(self) -> str:
        """What is missing in it; empty where it is finished."""
        if self.summary.get("status") == "finished":
            return ""
        host = self.summary.get("machine", {}).get("host")
        return (
            f"{self.shard} ({self.summary.get('done')} of {self.summary.get('faults')} faults, "
            f"{self.summary.get('status')}, on {host}: {self.path})"
        )


def merge(folders: Sequence[Path], output: Path | None = None) -> Path:
    """Put the shards in ``folders`` together.

    Args:
        folders: of one campaign, ``output/<model>/<list>-<hash>``, with shards in them; several
            where jobs on several machines had an output folder each.
        output: the root of all results; by default the results go into the first of the folders.

    Returns:
        The folder with the ``results.csv`` of the whole list: byte for byte what a campaign that
        is not split writes.

    Raises:
        MergeError: a shard is missing, not finished, there twice with other rows, or of another
            campaign; all that is wrong is named.
        FileError: a file is damaged.
    """
    parts = find_parts(folders)
    check_complete(parts)
    check_belong(parts)
    target = folders[0]
    if output is not None:
        target = output / str(parts[0].summary["model"]) / folders[0].name
    with report_disk_errors(target), lock_folder(target):
        write_merged(parts, target)
    return target


def find_parts(folders: Sequence[Path]) -> list[Part]:
    """The shards in ``folders``, each once, by number.

    Raises:
        MergeError: there is none, or they are of lists that were split in different ways.
    """
    parts: dict[Shard, Part] = {}
    for folder in folders:
        if not folder.is_dir():
            raise MergeError(f"{folder}: no such folder")
        for path in sorted(folder.iterdir()):
            if (shard := parse_shard_folder(path.name)) and (path / "summary.json").exists():
                part = Part(shard, path, read_summary(path / "summary.json"))
                parts[shard] = choose_copy(part, parts.get(shard))
    if not parts:
        raise MergeError(f"{folders[0]}: no shard is there, as shard-1-of-16 with a summary.json")
    counts = sorted({shard.count for shard in parts})
    if len(counts) > 1:
        kinds = " and ".join(f"{count} shards" for count in counts)
        raise MergeError(f"{folders[0]}: the list was split into {kinds}; keep one of them")
    return [parts[shard] for shard in sorted(parts)]


def choose_copy(part: Part, other: Part | None) -> Part:
    """Choose of two copies of a shard the one that goes further.

    Raises:
        MergeError: they differ in a row that both have.
    """
    if other is None:
        return part
    texts = [
        read_text(p.results.path, MergeError) for p in (part, other) if p.results.path.exists()
    ]
    short, long = sorted(texts, key=len) if len(texts) == 2 else ("", "")
    if not long.startswith(short[: short.rfind("\n") + 1]):
        raise MergeError(f"shard {part.shard} is in {part.path} and in {other.path}: other rows")
    return part if not part.complaint or other.complaint else other


def check_complete(parts: Sequence[Part]) -> None:
    """Raise ``MergeError``, naming them, where shards are missing or not finished."""
    there = {part.shard.number for part in parts}
    count = parts[0].shard.count
    missing = [f"{number}/{count}" for number in range(1, count + 1) if number not in there]
    unfinished = [complaint for part in parts if (complaint := part.complaint)]
    if missing or unfinished:
        words = [f"missing: {', '.join(missing)}"] if missing else []
        words += [f"not finished: {', '.join(unfinished)}"] if unfinished else []
        raise MergeError(f"{parts[0].path.parent}: shards are {'; '.join(words)}")


def check_belong(parts: Sequence[Part]) -> None:
    """Raise ``MergeError`` where a shard is of another campaign, naming in what it differs."""
    first = parts[0]
    identity = first.summary.get("hashes")
    if not isinstance(identity, dict) or not identity:
        raise MergeError(f"{first.path / 'summary.json'}: the key 'hashes' is missing")
    for part in parts[1:]:
        if wrong := list_differences(identity, part.summary.get("hashes")):
            raise MergeError(
                f"{part.path} does not belong to {first.path}: other {', '.join(wrong)}"
            )


def write_merged(parts: Sequence[Part], target: Path) -> None:
    """``results.csv``, ``config.yaml`` and ``summary.json`` of the whole list into ``target``.

    Raises:
        MergeError: the rows together are not the list that the shards are of.
    """
    rows = interleave([part.results.trial_rows() for part in parts])
    of_rates = parts[0].of_rates
    columns = TRIAL_COLUMNS if of_rates else FAULT_COLUMNS
    faults = text_hash(csv_text([columns, *(row[: len(columns)] for row in rows)]))
    if faults != parts[0].summary["hashes"].get("faults"):
        raise MergeError(
            f"{target.name}: the rows of all shards are not the fault list that they are of: "
            "a results.csv was changed by hand"
        )
    merge_pairs(parts, target)
    write_text(target / "config.yaml", merge_config(parts[0].path / "config.yaml"))
    first = read_text(parts[0].results.path, MergeError)
    write_text(target / "results.csv", first[: first.index("\n") + 1] + csv_text(rows))
    write_summary(target, merge_summaries(parts, len(rows)))


def merge_pairs(parts: Sequence[Part], target: Path) -> None:
    """``pairs.bin`` of the whole list where all shards have one.

    Raises:
        MergeError: some have one and some have none.
    """
    files = [PairsFile(part.path / PAIRS_NAME) for part in parts]
    without = [
        str(part.shard) for part, file in zip(parts, files, strict=True) if not file.exists()
    ]
    if without and len(without) < len(parts):
        raise MergeError(f"{target}: shards {', '.join(without)} were run without --save-pairs")
    if not without:
        PairsFile(target / PAIRS_NAME).join(files)


def merge_config(path: Path) -> str:
    """The options of a shard as those of the whole list."""
    options = yaml.safe_load(read_text(path, MergeError))
    if not isinstance(options, dict):
        return ""  # a campaign from Python has none
    return yaml.safe_dump({**options, "shard": None}, sort_keys=False)


def merge_summaries(parts: Sequence[Part], faults: int) -> dict[str, Any]:
    """The summary of the whole list: that of a shard, with the runs of all of them."""
    runs = [run | {"shard": str(p.shard)} for p in parts for run in p.summary["runs"]]
    decided = (part.summary.get("decided", {}) for part in parts)
    verified = [part.summary["verified"] for part in parts if "verified" in part.summary]
    starts, ends = zip(*((run["started"], run["ended"]) for run in runs), strict=True)
    return {
        **parts[0].summary,
        "status": "finished",
        "faults": faults,
        "trials": sum(part.summary["trials"] for part in parts),
        "done": faults,
        "shard": None,
        "shards": len(parts),
        "started": min(starts),
        "ended": max(end for end in ends if end),
        **sum_runs(runs),
        "runs": runs,
        "decided": reduce(add_decision_counts, decided),
        **merge_verifications(verified),
        **merge_fates([part.summary for part in parts]),
    }


def merge_fates(summaries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Add up what a code or a plan did to the faults of the shards; nothing where there is none."""
    merged = {}
    for key in ("ecc", "protect"):
        if found := [summary[key] for summary in summaries if key in summary]:
            fates = [name for name in found[0] if name != "code"]
            sums = {name: sum(part[name] for part in found) for name in fates}
            merged[key] = {**found[0], **sums}
    return merged


def merge_verifications(verified: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Add up what ``--verify`` found in the shards; nothing where none was verified."""
    if not verified:
        return {}
    summed = ("faults", "pairs", "differing", "unmasked")
    sums = {key: sum(part[key] for part in verified) for key in summed}
    rows = [row for part in verified for row in part["wrong_rows"]]
    holds = all(part["holds"] for part in verified)
    return {"verified": {**verified[0], **sums, "wrong_rows": rows, "holds": holds}}
