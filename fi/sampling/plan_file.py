"""The plan of a fault list that was drawn: a JSON file beside it, so that estimates stay right."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fi.base.text_files import FileError, read_text, write_text
from fi.faults.fault_sites import SiteFamily
from fi.faults.groups.grouped_families import find_family
from fi.sampling.plan import SamplingPlan
from fi.statistics.survey_design import Design


def plan_path(fault_list: Path) -> Path:
    """``51196_fault_list.json`` for ``51196_fault_list.csv``."""
    return fault_list.with_suffix(".json")


def write_plan(
    fault_list: Path,
    plan: SamplingPlan,
    design: Design,
    iterative: Mapping[str, Any] | None = None,
) -> None:
    """Write how a list was drawn to a file beside it; the list is there.

    Args:
        fault_list: path of the list.
        plan: what it was drawn by.
        design: how it was drawn, for estimates.
        iterative: of an iterative draw, its confidence and tracked rates.
    """
    record = {"list_sha256": _digest(fault_list), "plan": plan.record(), "draw": design.record()}
    if iterative is not None:
        record["iterative"] = dict(iterative)
    write_text(plan_path(fault_list), json.dumps(record, indent=1) + "\n")


def read_plan(fault_list: Path, families: Sequence[SiteFamily]) -> Design | None:
    """How the list was drawn; ``None`` where there is no plan beside it.

    Raises:
        FileError: the plan is damaged, of another list, or of a network with other sites.
    """
    path = plan_path(fault_list)
    if not path.exists():
        return None
    without = "remove it to run the list without its plan"
    try:
        record = json.loads(read_text(path, FileError))
        digest, design = record["list_sha256"], Design.from_record(record["draw"])
    except (ValueError, KeyError, TypeError) as problem:
        raise FileError(f"{path}: not the plan of a fault list ({problem}); {without}") from None
    if digest != _digest(fault_list):
        raise FileError(f"{path} is the plan of other faults than {fault_list} holds; {without}")
    known = {family.name: family for family in families}
    for family in design.families:
        own = find_family(known, family.name)
        if own is None or own.words != family.words:
            raise FileError(
                f"{path} was drawn from {family.words} words of {family.name}; "
                f"this network has {own.words if own else 0}; {without}"
            )
    return design


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
