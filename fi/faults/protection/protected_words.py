"""Stored words in a protected memory: which faults of a trial are left behind the decoder."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fi.faults.fault import Fault, Index, Trial, masks_of
from fi.faults.fault_sites import SiteFamily
from fi.faults.fault_space import ravel, unravel
from fi.faults.groups.grouped_families import expand_groups
from fi.faults.modelling.model_base import STORED
from fi.faults.models import fault_model
from fi.faults.protection.codes import Code
from fi.faults.word_formats import format_of

#: What a code does to a trial, in the order of a summary.
FATES = ("corrected", "detected", "missed", "unchanged", "unprotected")


@dataclass(frozen=True)
class ProtectedTrial:
    """A trial behind the decoder.

    Attributes:
        fate: ``detected`` where a code word is reported at any step; ``missed`` where bits of
            protected words are wrong behind the decoder; ``corrected`` where none is;
            ``unchanged`` where the faults flip no bit of them; ``unprotected`` where no fault is in
            one.
        acting: the faults that the network has; none where an error was detected.
    """

    fate: str
    acting: Trial


def check_protected_models(models: Iterable[str], option: str) -> None:
    """Raise ``ValueError`` for a fault model that is not of bits; ``option`` names the code."""
    for name in sorted(models):
        model = fault_model(name)
        if not model.takes_bits or model.gives_values():
            raise ValueError(
                f"fault model {name} is of no bits, and bits are protected; allowed with {option}: "
                "bit-flip, stuck-at-0, stuck-at-1"
            )


class ProtectedWords:
    """The weights and parameters of a network in a memory with a code; its states have none.

    The words of a tensor lie one behind the other, in row-major order and bit 0 first; each
    ``code.width`` of their bits are the data bits of a code word. The last one is filled up with
    bits that hold nothing.

    Args:
        network: as stored, without a fault.
        families: its site families; those of weights and parameters are protected.
        code: of the memory.
        steps: time steps of a run.

    Attributes:
        name: of what protects them.
        entry: the key of its fates in ``summary.json``.
    """

    entry = "ecc"

    def __init__(
        self, network: nn.Module, families: Sequence[SiteFamily], code: Code, steps: int
    ) -> None:
        self.code, self.name, self.steps = code, code.name, steps
        self._network, self._families = network, families
        self._stored = {family.name: family for family in families if family.kind in STORED}
        self._words: dict[str, NDArray[np.int64]] = {}

    def decode(self, trial: Trial) -> ProtectedTrial:
        """What is left of a trial."""
        (expanded,) = expand_groups([trial], self._families)
        by_family: dict[str, list[Fault]] = defaultdict(list)
        others = []
        for fault in expanded:
            if fault.layer in self._stored:
                by_family[fault.layer].append(fault)
            else:
                others.append(fault)
        if not by_family:
            return ProtectedTrial("unprotected", trial)
        left: list[Fault] = []
        flipped = False
        for name, faults in by_family.items():
            for when in split_time(faults, self.steps):
                active = [f for f in faults if f.active(0 if when is None else when[0])]
                found = self._find_flips(self._stored[name], active)
                flipped |= bool(found)
                errors = self.decode_flips(found)
                if errors is None:
                    return ProtectedTrial("detected", ())
                left += self._as_faults(trial, self._stored[name], errors, when)
        fate = "missed" if left else "corrected" if flipped else "unchanged"
        return ProtectedTrial(fate, (*left, *others))

    def count(self, trials: Iterable[Trial]) -> dict[str, int]:
        """How many trials had each fate; each stands once, also where there is none."""
        fates = Counter(self.decode(trial).fate for trial in trials)
        return {fate: fates[fate] for fate in FATES}

    def _find_flips(self, family: SiteFamily, faults: Sequence[Fault]) -> set[int]:
        """The bits of the family's memory that faults change, in their order; word by word.

        Which bits flip does not depend on the word; of states, which differ by sample and step, it
        is asked for these only.
        """
        width, golden = family.width, dict[int, int]()
        faulty: dict[int, int] = {}
        plain = all(fault.model == "bit-flip" for fault in faults)
        for fault in faults:
            word = ravel(fault.index, family.shape)
            golden[word] = 0 if plain else int(self.golden_words(family)[word])
            masks = masks_of(fault.model, fault.bits)
            before = faulty.get(word, golden[word])
            faulty[word] = ((before & masks.keep) | masks.force) ^ masks.flip
        return {
            word * width + bit
            for word, after in faulty.items()
            for bit in range(width)
            if (after ^ golden[word]) >> bit & 1
        }

    def decode_flips(self, flips: Iterable[int]) -> set[int] | None:
        """The bits that are wrong behind the decoder; ``None`` where it reports an error."""
        words: dict[int, set[int]] = defaultdict(set)
        for flip in flips:
            words[flip // self.code.width].add(flip % self.code.width)
        errors: set[int] = set()
        for word, bits in words.items():
            detected, wrong = self.code.decode(bits)
            if detected:
                return None
            errors |= {word * self.code.width + bit for bit in wrong}
        return errors

    def _as_faults(
        self, trial: Trial, family: SiteFamily, errors: set[int], when: range | None
    ) -> Iterator[Fault]:
        """Wrong bits as flips, a fault a word; what holds nothing is left out."""
        by_word: dict[int, list[int]] = defaultdict(list)
        for error in sorted(errors):
            by_word[error // family.width].append(error % family.width)
        for word, bits in by_word.items():
            if word < family.words:
                index: Index = unravel(word, family.shape)
                yield Fault(trial[0].injection, family.name, index, tuple(bits), steps=when)

    def golden_words(self, family: SiteFamily) -> NDArray[np.int64]:
        """The stored words of a family, row-major, unsigned, int64 ``[words]``."""
        if family.name not in self._words:
            tensor = getattr(self._network.get_submodule(family.layer), family.attribute).detach()
            module = self._network.get_submodule(family.layer)
            channel = torch.arange(len(tensor) if tensor.ndim else 1)
            channel = channel.reshape(-1, *[1] * (tensor.ndim - 1))
            form = format_of(module, family.attribute).select(channel)
            full = (1 << family.width) - 1
            words = form.encode(tensor.float().cpu()).flatten().numpy().astype(np.int64)
            self._words[family.name] = words & full
        return self._words[family.name]


def split_time(faults: Sequence[Fault], steps: int) -> list[range | None]:
    """The parts of a run in each of which the same faults are active, those without any left out.

    ``None`` is all of it, where every fault is permanent.
    """
    windows = [fault.steps for fault in faults if fault.steps is not None]
    if not windows:
        return [None]
    ends = {0, steps, *(end for window in windows for end in (window[0], window[-1] + 1))}
    inner = sorted(end for end in ends if end <= steps)
    parts = [range(start, end) for start, end in pairwise(inner)]
    return [part for part in parts if any(fault.active(part[0]) for fault in faults)]


def describe_fates(code: str, fates: Mapping[str, int], of: str = "faults") -> str:
    """What a code did to the faults, or trials, of a list, in a line.

    >>> describe_fates("secded:32", {"corrected": 8, "detected": 2, "missed": 0, "unchanged": 1})
    'secded:32: of 11 faults 8 corrected, 2 detected, 0 missed, 1 changed no bit'
    """
    words = {"unchanged": "changed no bit", "unprotected": "in no protected word"}
    parts = [
        f"{fates[fate]} {words.get(fate, fate)}"
        for fate in FATES
        if fates.get(fate) or fate in ("corrected", "detected", "missed")
    ]
    return f"{code}: of {sum(fates.values())} {of} {', '.join(parts)}"
