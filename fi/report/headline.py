"""The headline: what a campaign found, in sentences."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from fi.faults.protection.protected_words import describe_fates
from fi.metrics.outcomes import DETECTED
from fi.report.figures.rates_by_bit import share_of_sdc
from fi.report.findings import Findings
from fi.statistics.result_table import FAULTY_ACCURACY, OUTCOME_ROWS, OVERALL

_SDC, _MASKED = OUTCOME_ROWS["sdc_1"], OUTCOME_ROWS["fully_masked"]
#: The bits that are named carry at least this part of the SDC-1, unless they are too many.
_MOST, _NAMED = 0.9, 4
#: Between a number and its unit.
SPACE = "\u00a0"


def headline(found: Findings) -> list[str]:
    """Sentences, the most important first."""
    if found.table is None:
        return ["No fault is finished yet: there is nothing to report."]
    return [*_overall(found), *_families(found), *_bits(found), *_concentration(found)]


def percent(rate: float) -> str:
    """A rate in per cent, three digits: ``0.221 %``; the space does not break."""
    value = 100 * rate
    digits = 5 if 99.95 <= value < 100 else 3
    return f"{value:.{digits}g}{SPACE}%"


def accuracy_percent(accuracy: float) -> str:
    """An accuracy in per cent with two decimals: ``96.60 %``."""
    return f"{100 * accuracy:.2f}{SPACE}%"


def interval(found: Findings, row: str, family: str = OVERALL) -> str:
    """A rate with its interval, in words."""
    rate, low, high = found.rate(row, family)
    ends = f"{percent(low)[:-2]} to {percent(high)}"
    return f"{percent(rate)} ({percent(found.confidence)} interval {ends})"


def _overall(found: Findings) -> Iterator[str]:
    changed = found.rate(_SDC)[0]
    yield (
        f"{interval(found, _SDC)} of the pairs of a fault and a sample change the predicted class "
        f"(SDC-1); {percent(found.rate(_MASKED)[0])} are fully masked."
        if changed
        else f"No fault changed a predicted class: the SDC-1 rate is {interval(found, _SDC)}; "
        f"{percent(found.rate(_MASKED)[0])} of the pairs are fully masked."
    )
    if found.has_code:
        fates = dict(found.entries.get("ecc") or found.entries["protect"])
        code = fates.pop("code")
        yield (
            f"{percent(found.rate(DETECTED)[0])} of the pairs give no answer, since the memory's "
            f"code detects an error; {describe_fates(code, fates)}."
        )
    yield _accuracy(found.rate(FAULTY_ACCURACY)[0], found.golden)


def _accuracy(left: float, golden: float) -> str:
    drop = golden - left
    points = f"{100 * abs(drop):.2g} points {'lower' if drop > 0 else 'higher'} than"
    compared = "the same as" if abs(drop) < 5e-6 else points
    return (
        f"A fault leaves an accuracy of {accuracy_percent(left)} on average, {compared} without "
        f"a fault ({accuracy_percent(golden)})."
    )


def _families(found: Findings) -> Iterator[str]:
    """Most and least vulnerable by the ends of their intervals: few faults cannot win."""
    if len(found.families) < 2 or not found.rate(_SDC)[0]:
        return
    surest = max(found.families, key=lambda name: (found.rate(_SDC, name)[1], name))
    safest = min(found.families, key=lambda name: (found.rate(_SDC, name)[2], name))
    highest = max(found.families, key=lambda name: found.rate(_SDC, name)[0])
    others = [f for f in found.families if f != surest and _overlap(found, surest, f)]
    more = f"; the intervals of {len(others)} other families overlap with it" if others else ""
    if highest != surest:
        rate, faults = percent(found.rate(_SDC, highest)[0]), _faults(found.count(highest))
        more = f"; {highest} has a higher rate, {rate}, but a wider interval ({faults})"
    yield f"Most vulnerable: {surest}, SDC-1 {interval(found, _SDC, surest)}{more}."
    if safest != surest:
        yield f"Least vulnerable: {safest}, SDC-1 {interval(found, _SDC, safest)}."


def _overlap(found: Findings, one: str, other: str) -> bool:
    (_, low, high), (_, least, most) = found.rate(_SDC, one), found.rate(_SDC, other)
    return low <= most and least <= high


def _bits(found: Findings) -> Iterator[str]:
    share = share_of_sdc(found)
    if not len(share) or not share.sum():
        return
    order = share.sort_values(ascending=False)
    number = min(int((order.cumsum() < _MOST).sum()) + 1, _NAMED, int((order > 0).sum()))
    named = order.iloc[:number]
    bits = ", ".join(f"bit {bit} {percent(part)}" for bit, part in named.items())
    carried = f": {bits}" if number > 1 else ""
    names = f"Bit {named.index[0]}" if number == 1 else f"{number} bits"
    verb = "carries" if number == 1 else "carry"
    yield f"{names} {verb} {percent(named.sum())} of the SDC-1{carried}{_mantissa(share)}."


def _mantissa(share: pd.Series) -> str:
    """What the lower bits carry together, from the highest bit below which it is 1 % or less."""
    below = share.sort_index().cumsum()
    small = below[below <= 0.01]
    if len(small) < 2:
        return ""
    return f"; bits {small.index[0]} to {small.index[-1]} together {percent(small.iloc[-1])}"


def _concentration(found: Findings) -> Iterator[str]:
    trials = found.faults
    never = int((trials["fully_masked"] == trials["samples"]).sum())
    harmful = trials["sdc_1"].sort_values(ascending=False)
    yield f"{never:,} of {_faults(len(trials))} that were run change no score in any sample."
    if harmful.sum() and len(trials) >= 20:
        few = int((harmful.cumsum() < _MOST * harmful.sum()).sum()) + 1
        part = percent(few / len(trials))
        yield f"{_faults(few)} ({part}) cause {percent(_MOST)} of the SDC-1 that was seen."
    strange = int((trials["non_finite"] > 0).sum())
    if strange:
        yield f"{_faults(strange)} make a score infinite or not a number; not a number is SDC-1."


def _faults(number: int) -> str:
    return f"{number:,} fault{'s' * (number != 1)}"
