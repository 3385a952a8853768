"""Expected rates by site family and bit, before anything is run: for data-aware sample sizes.

The rule for weights and neuron parameters: a fault is expected to matter as far as it moves the
word, measured by what the words of its tensor are themselves. With ``s`` the root mean square of
the tensor's golden values,

    p(family, bits) = 1/2 mean(min(1, |faulty - golden| / s))

over the words and the fault models; a value that is not finite, or a tensor of zeros, counts 1.
``p = 1/2`` is the worst case, which a move by ``s`` or more on every word reaches; a small move has
a small rate. It is never below 0.001, and 1/2 for states, spikes and inputs, of which weights say
nothing, and for groups of words. A prior decides how many faults are drawn, not what is estimated
from them: where it is wrong, intervals are wider than planned, and still cover.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from fi.base.text_files import FileError, csv_rows, read_text
from fi.faults.fault import Bits, Fault
from fi.faults.fault_sites import SiteFamily
from fi.faults.fault_space import FaultSpace, unravel
from fi.faults.groups.grouped_families import split_group
from fi.faults.modelling.model_base import STORED
from fi.faults.stored_words import apply_faults

WORST = 0.5
_LEAST = 0.001
#: Words of a tensor that the rule is computed on, evenly spread over it.
_WORDS = 4096
_COLUMNS = ("Layer", "Bit", "P")


class PriorRate(NamedTuple):
    """An expected rate.

    Attributes:
        layer: pattern of site families, ``fc1.weight`` or ``*.potential``.
        first, last: it is for faults whose highest bit is one of these; -1 is the whole word.
        p: the rate, above 0 and at most 0.5.
    """

    layer: str
    first: int
    last: int
    p: float


Prior = tuple[PriorRate, ...]


def expected_rate(prior: Prior, family: str, bits: Bits) -> float:
    """The rate that the last fitting row gives; 0.5 where none fits.

    >>> prior = (PriorRate("*.weight", 0, 22, 0.01), PriorRate("fc2.weight", 0, 10, 0.002))
    >>> expected_rate(prior, "fc2.weight", (3,)), expected_rate(prior, "fc2.weight", (30,))
    (0.002, 0.5)
    """
    highest = max(bits, default=-1)
    for layer, first, last, p in reversed(prior):
        if first <= highest <= last and fnmatchcase(family, layer):
            return p
    return WORST


def derive_prior(space: FaultSpace, network: nn.Module) -> Prior:
    """Expected rates by the rule above, for the stored words of ``network``."""
    rows = []
    for family in space.families:
        if family.kind in STORED and not split_group(family.name)[1]:
            for highest in sorted(
                {max(bits, default=-1) for bits in space.choices_of(family.name)}
            ):
                moves = [
                    _mean_shift(network, family, variant.model, bits)
                    for variant in space.variants(family)
                    for bits in variant.choices
                    if max(bits, default=-1) == highest
                ]
                p = max(_LEAST, float(f"{WORST * np.mean(moves):.3g}"))
                rows.append(PriorRate(family.name, highest, highest, p))
    return tuple(rows)


def _mean_shift(network: nn.Module, family: SiteFamily, model: str, bits: Bits) -> float:
    """The mean of ``min(1, |faulty - golden| / s)``."""
    module = network.get_submodule(family.layer)
    tensor: Tensor = getattr(module, family.attribute)
    every = tensor.detach().flatten()
    apart = -(-len(every) // _WORDS)
    golden = every[::apart]
    words = [unravel(number, family.shape) for number in range(0, len(every), apart)]
    faults = [Fault(0, family.name, word, bits, model) for word in words]
    faulty = apply_faults(module, family.attribute, golden, faults)
    scale = every.double().square().mean().sqrt()
    moves = (faulty.double() - golden.double()).abs() / scale
    return float(torch.nan_to_num(moves, nan=1.0, posinf=1.0).clamp(max=1.0).mean())


def read_prior(path: str | Path) -> Prior:
    """A user's prior: CSV with the header ``Layer,Bit,P`` and rows such as ``*.weight,0-22,0.01``.

    ``Layer`` is a name or pattern of site families, ``Bit`` a bit, a range, or empty for any;
    of several rows that fit the last one counts; what no row fits has 0.5.

    Raises:
        FileError: with file, line, value and what is allowed.
    """
    path = Path(path)
    rows = csv_rows(read_text(path, FileError), path, FileError)
    header = next(rows, (1, []))[1]
    if tuple(header) != _COLUMNS:
        raise FileError(f"{path}:1: the header is {','.join(header)[:80]!r}; allowed: Layer,Bit,P")
    prior = []
    for line, row in rows:
        try:
            prior.append(_parse(row))
        except ValueError as problem:
            raise FileError(f"{path}:{line}: {problem}") from None
    if not prior:
        raise FileError(f"{path}: the prior is empty; allowed: one row or more")
    return tuple(prior)


def _parse(row: list[str]) -> PriorRate:
    if len(row) != len(_COLUMNS):
        raise ValueError(f"{len(row)} fields; allowed: the 3 fields Layer,Bit,P")
    layer, bit, rate = (field.strip() for field in row)
    first, _, last = (bit or "0-999").partition("-")
    if not layer or not first.isdigit() or not (last or first).isdigit():
        raise ValueError(f"{layer!r}, {bit!r}: allowed are a family, and a bit or range as 0-22")
    try:
        p = float(rate)
    except ValueError:
        p = 0.0
    if not 0 < p <= WORST:
        raise ValueError(f"P is {rate[:40]!r}; allowed: above 0 and at most 0.5")
    return PriorRate(layer, int(first) if bit else -1, int(last or first), p)
