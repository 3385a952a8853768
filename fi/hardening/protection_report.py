"""What a choice of protection is worth: its curve of residual over cost, and its files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fi.base.text_files import FileError, read_text, write_text
from fi.faults.fault import format_bits
from fi.faults.protection.protection_plan import ProtectionPlan
from fi.hardening.protection_choice import Choice
from fi.hardening.residual_risk import MEASURES, RiskSample
from fi.statistics.estimators import Estimate

#: In the folder of a campaign.
FOLDER, SUMMARY = "protection", "protection.json"
#: Points of the curve, at most.
_POINTS = 24


@dataclass(frozen=True)
class Protection:
    """A choice, measured on other faults than it was made on.

    Attributes:
        choice: the units.
        plan: the same as a plan.
        before, after: risk without and with it, with intervals.
        ranking: a row a unit: ``family, bits, words, cost, total_cost, gain, residual``; costs are
            parts of full triplication, ``residual`` is measured.
        curve: ``cost, residual, low, high``, from no protection on.
    """

    choice: Choice
    plan: ProtectionPlan
    before: Estimate
    after: Estimate
    ranking: pd.DataFrame
    curve: pd.DataFrame


def measure_protection(
    choice: Choice, sample: RiskSample, confidence: float, method: str
) -> Protection:
    """The risk behind the units of a choice, one after another, on the faults of ``sample``."""
    rank, units = choice.rank(sample), choice.units
    numbers = np.unique(np.round(np.geomspace(1, max(1, len(units)), _POINTS)).astype(int))
    points = [0, *(number for number in numbers.tolist() if number <= len(units))]
    found = [sample.estimate(rank < number, confidence, method) for number in points]
    costs = [0.0, *choice.costs.tolist()]
    rows = [(costs[number], *each) for number, each in zip(points, found, strict=True)]
    gone = np.zeros(len(units) + 1)
    np.add.at(gone, rank, sample.rates * sample.weights)
    left = gone.sum() - np.cumsum(gone[:-1])
    ranking = pd.DataFrame(
        {
            "family": [unit.family for unit in units],
            "bits": [format_bits(unit.bits) for unit in units],
            "words": ["all" if u.words is None else _name_words(u.words) for u in units],
            "cost": [unit.cost / choice.full for unit in units],
            "total_cost": choice.costs,
            "gain": [unit.gain for unit in units],
            "residual": left,
        }
    )
    curve = pd.DataFrame(rows, columns=["cost", "residual", "low", "high"])
    plan = choice.plan(sample.shapes)
    return Protection(choice, plan, found[0], found[-1], ranking, curve)


def _name_words(words: tuple[int, ...]) -> str:
    return f"word {words[0]}" if len(words) == 1 else f"{len(words)} words"


def summarise(found: Protection, facts: dict[str, Any]) -> dict[str, Any]:
    """Plain values for ``protection.json``."""
    return {
        **facts,
        "scheme": found.choice.scheme.name,
        "plan": found.plan.digest,
        "units": len(found.choice.units),
        "cost": float(found.choice.costs[-1]) if found.choice.units else 0.0,
        "before": found.before._asdict(),
        "after": found.after._asdict(),
        "ranking": found.ranking.head(20).to_dict("records"),
        "curve": found.curve.to_dict("records"),
    }


def describe(summary: dict[str, Any]) -> list[str]:
    """The finding in sentences."""
    name = MEASURES[summary["of"]][1]
    cost = f"{100 * summary['cost']:.3g} % of the cost of full triplication"
    if not summary["units"]:
        return [f"No unit fits: {summary['goal']}."]
    return [
        f"{summary['units']:,} units by {summary['by']} with {summary['scheme']}, {cost} "
        f"({summary['goal']}).",
        f"{name} without: {_percent(summary['before'])}; with the plan: "
        f"{_percent(summary['after'])}.",
        f"Chosen on {summary['chosen_on']}, measured on {summary['measured_on']}, which the choice "
        f"did not see: the {100 * summary['confidence']:g} % intervals hold for this plan."
        if summary["chosen_on"] != summary["measured_on"]
        else "Every fault of the space was run: nothing is estimated.",
    ]


def _percent(found: dict[str, float]) -> str:
    rate, low, high = (100 * found[name] for name in ("rate", "low", "high"))
    return f"{rate:.3g} % ({low:.3g} to {high:.3g} %)"


def write_protection(found: Protection, summary: dict[str, Any], folder: Path, note: str) -> Path:
    """Write plan, ranking, curve and summary into a folder; the path of the plan.

    Raises:
        OSError: it cannot be written.
    """
    for name in ("ranking", "curve"):
        table: pd.DataFrame = getattr(found, name)
        write_text(folder / f"{name}.csv", table.to_csv(index=False, lineterminator="\n"))
    write_text(folder / SUMMARY, json.dumps(summary, indent=1) + "\n")
    write_text(folder / "plan.yaml", found.plan.text(note))
    return folder / "plan.yaml"


def read_summary_of(campaign: Path) -> dict[str, Any] | None:
    """What ``fi.protect`` has left in a campaign's folder; ``None`` where it was not run."""
    path = campaign / FOLDER / SUMMARY
    if not path.exists():
        return None
    try:
        found: dict[str, Any] = json.loads(read_text(path, FileError))
    except json.JSONDecodeError as problem:
        raise FileError(f"{path}:{problem.lineno}: not JSON: {problem.msg}") from None
    return found
