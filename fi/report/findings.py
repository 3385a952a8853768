"""What a campaign found, as figures and sentences need it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fi.base.text_files import FileError
from fi.faults.csv_row import parse_bits, parse_steps
from fi.metrics.outcomes import DETECTED, OUTCOMES
from fi.report.tables import table_of
from fi.statistics.group_estimates import estimate_groups
from fi.statistics.intervals import DEFAULT_METHOD
from fi.statistics.result_table import FAULTS, OVERALL, merge_trials
from fi.statistics.survey_design import Design
from fi.store.campaign_reader import PastCampaign

#: The entries of the summary that tables and figures show; others change when a run ends.
_SHOWN_ENTRIES = ("samples", "confidence", "interval", "golden_accuracy", "families", "word_format")


@dataclass(frozen=True)
class Findings:
    """A campaign on disk: what was run, and what its faults did.

    Attributes:
        path: the campaign's folder.
        entries: its ``summary.json``.
        results: one row a fault, as ``ResultsFile.load`` gives them; may be empty.
        table: the result table; ``None`` where no fault is finished.
        design: how the faults were drawn, and from which.
        derived: what was computed and drawn from the results so far, by name; shared by all
            findings of the same results, so that TensorBoard and the report draw a figure once.
    """

    path: Path
    entries: Mapping[str, Any]
    results: pd.DataFrame
    table: pd.DataFrame | None
    design: Design
    derived: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def of(cls, campaign: PastCampaign) -> Findings:
        """Read a campaign; ``FileError`` where it cannot be used."""
        summary = campaign.summary()  # names what is missing
        entries = campaign.entries()
        results, last = campaign.results.load(whole=False), _last_findings.get(campaign.path)
        if last and last._are_of(results, summary.design, entries):
            table, derived = last.table, last.derived
        else:
            table, derived = table_of(campaign, results) if len(results) else None, {}
        found = cls(campaign.path, entries, results, table, summary.design, derived)
        _last_findings.clear()
        _last_findings[campaign.path] = found
        return found

    def _are_of(self, results: pd.DataFrame, design: Design, entries: Mapping[str, Any]) -> bool:
        """Whether these are the findings of the same results, drawn and judged in the same way."""
        same = all(self.entries.get(key) == entries.get(key) for key in _SHOWN_ENTRIES)
        return same and self.design == design and self.results.equals(results)

    @property
    def model(self) -> str:
        return str(self.entries["model"])

    @property
    def samples(self) -> int:
        return int(self.entries["samples"])

    @property
    def golden(self) -> float:
        """Accuracy without a fault."""
        return float(self.entries["golden_accuracy"])

    @property
    def confidence(self) -> float:
        return float(self.entries["confidence"])

    @property
    def interval(self) -> str:
        """The method of the intervals."""
        return str(self.entries.get("interval", DEFAULT_METHOD))

    @property
    def listed(self) -> int:
        """The number of trials in the fault list."""
        return int(self.entries.get("trials", self.entries["faults"]))

    @property
    def word_format(self) -> str:
        """The number format of stored words."""
        return str(self.entries.get("word_format", "float32"))

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Site family -> shape of its tensor, in the order of the network."""
        return {f["name"]: tuple(f["shape"]) for f in self.entries["families"]}

    @cached_property
    def families(self) -> list[str]:
        """The site families that were hit, in the order of the network; trials of several last."""
        assert self.table is not None
        hit = set(self.faults["Layer"])
        return [str(name) for name in self.table.columns if name in hit]

    @cached_property
    def faults(self) -> pd.DataFrame:
        """The results with the rates of each fault: outcomes, ``accuracy`` and ``drop``.

        A trial of several faults has one row. ``bit`` is the highest bit hit, -1 where the fault
        model has none; ``step`` the first step, -1 for a permanent fault.
        """
        rows = merge_trials(self.results).reset_index(drop=True)
        counts = {name: rows[name] / rows["samples"] for name in (*OUTCOMES, "non_finite")}
        accuracy = rows["correct"] / rows["samples"]
        more = {
            **{f"{name}_rate": values for name, values in counts.items()},
            "accuracy": accuracy,
            "drop": rows["golden_correct"] / rows["samples"] - accuracy,
            "bit": rows["Bit"].map(highest_bit).astype(np.int64),
            "step": rows["Step"].map(first_step).astype(np.int64),
        }
        return rows.assign(**more)

    @cached_property
    def hits(self) -> pd.DataFrame:
        """The results, every fault of a trial on its own, with ``sdc_1_rate``."""
        rates = self.results["sdc_1"] / self.results["samples"]
        return self.results.assign(sdc_1_rate=rates)

    def sdc_by(self, *keys: str) -> pd.DataFrame:
        """SDC-1 and its interval by ``family``, ``bit``, ``step``, of what was run.

        ``speaks_for`` is the number of faults (or trials) that a row stands for, as far as known.
        A trial of several faults counts in every row that it has a fault in.
        """
        if ("sdc_by", keys) not in self.derived:
            self.derived["sdc_by", keys] = self._compute_sdc(keys)
        found: pd.DataFrame = self.derived["sdc_by", keys]
        return found

    def _compute_sdc(self, keys: tuple[str, ...]) -> pd.DataFrame:
        try:
            found = estimate_groups(
                self.results, self.design, keys, self.confidence, ["sdc_1"], self.interval
            )
        except ValueError as problem:
            raise FileError(f"{self.path}: {problem}") from None
        found = found[found["faults"] > 0].reset_index(drop=True)
        speaks = found["population"] if self.design.known else found["faults"]
        total = sum(speaks)
        return found.assign(speaks_for=[float(size / total) for size in speaks])

    @property
    def has_code(self) -> bool:
        """Whether the memory has a code, so that pairs may be ``detected``."""
        return DETECTED in self.results

    @property
    def stands_on(self) -> str:
        """The n of figures that use every fault."""
        return f"{len(self.faults):,} faults x {self.samples:,} samples"

    def number_with(self, column: str) -> int:
        """Faults, or trials, that have a ``Bit``, or a ``Step``."""
        return int(self.results.loc[self.results[column] != "", "Injection"].nunique())

    def rate(self, row: str, family: str = OVERALL) -> tuple[float, float, float]:
        """A rate of the result table and the ends of its interval."""
        assert self.table is not None
        column = self.table[family]
        return float(column[row]), float(column[f"{row} low"]), float(column[f"{row} high"])

    def count(self, family: str = OVERALL) -> int:
        """The number of faults in a family."""
        assert self.table is not None
        return int(self.table[family][FAULTS])


def highest_bit(field: str) -> int:
    """The highest bit of ``11``, ``3-5`` or ``3+7+9``; -1 where no bit is named."""
    return max(parse_bits(field), default=-1)


def first_step(field: str) -> int:
    """The first step of ``5`` or ``3-7``; -1 where none is named."""
    steps = parse_steps(field)
    return -1 if steps is None else steps[0]


#: The findings that were read last, by folder: kept for whoever asks for the same ones again.
_last_findings: dict[Path, Findings] = {}
