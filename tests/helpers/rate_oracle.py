"""Campaigns of rates held against the oracle in plain Python, on every engine."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from oracle_formulas import expected, scores_of
from rate_campaigns import merge_words, rate_campaign

from fi.campaign.subject import Subject
from fi.faults.fault import Fault

#: Groups, with the words of a group written out: matrix row and column, place in memory -> group.
MAPS: dict[str, Callable[[int, int, int], tuple[int, ...]]] = {
    "row": lambda row, column, place: (row,),
    "column": lambda row, column, place: (column,),
    "word-line:5": lambda row, column, place: (place // 5,),
    "systolic:4x3": lambda row, column, place: (column % 4, row % 3),
    "crossbar-row:4x3": lambda row, column, place: (column, row // 3),
}


def list_words(faults: Sequence[Fault], subject: Subject) -> list[Fault]:
    """Faults of groups as faults of their words, found by looking at every word."""
    shapes = {family.name: family.shape for family in subject.sites}
    found = []
    for fault in faults:
        name, _, group = fault.layer.partition("@")
        if not group:
            found.append(fault)
            continue
        for place, index in enumerate(np.ndindex(shapes[name])):
            column = place % (math.prod(shapes[name]) // shapes[name][0])
            if len(shapes[name]) == 1:
                column = 0
            if MAPS[group](index[0], column, place) == fault.index:
                found.append(replace(fault, layer=name, index=index))
    return found


def assert_counts_are_the_oracles(
    subject: Subject, output: Path, rates: tuple[float, ...], **options: Any
) -> pd.DataFrame:
    """All engines count what the oracle counts, which is returned."""
    golden, wanted = scores_of(subject), None
    for engine in ("full", "differential", "auto"):
        campaign = rate_campaign(subject, output / engine, rates, engine=engine, **options)
        results = campaign.run().sort_values("Injection").reset_index(drop=True)
        if wanted is None:
            space = campaign.schedule.space
            trials = [list(trial.list_faults(space)) for trial in campaign.schedule.listed]
            assert results["Faults"].tolist() == list(map(len, trials))
            words = [list_words(trial, subject) for trial in trials]
            rows = [expected(subject, merge_words(trial), golden) for trial in words]
            wanted = pd.DataFrame(rows)
        pd.testing.assert_frame_equal(results[list(wanted.columns)], wanted, check_names=False)
    assert wanted is not None
    return wanted
