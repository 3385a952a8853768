"""Site families of groups, ``fc1.weight@row``, and the words that a fault of a group hits.

A group is a site as a word is one: counted, drawn and listed by its index, ``fc1.weight@row`` with
``(3,)``. What it means in words is found when it is injected: the same fault in all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fi.faults.fault import Fault, Index, Trial
from fi.faults.fault_sites import Kind, SiteFamily
from fi.faults.groups.element_maps import Places, WordMap, word_map

#: Between the name of a family and that of its groups.
GROUPED = "@"


@dataclass(frozen=True)
class Groups:
    """The groups of one tensor.

    Attributes:
        shape: of the groups.
        first: where the words of each begin, int64 ``[groups + 1]``.
        words: row-major numbers of words, by group, int64 ``[words]``.
        tensor: the shape of the tensor.
    """

    shape: tuple[int, ...]
    first: NDArray[Any]
    words: NDArray[Any]
    tensor: tuple[int, ...]

    def members(self, index: Index) -> list[Index]:
        """The words of one group, in the order in which they are stored."""
        number = int(np.ravel_multi_index(index, self.shape))
        words = self.words[self.first[number] : self.first[number + 1]]
        if not self.tensor:
            return [()]
        return [tuple(word) for word in np.stack(np.unravel_index(words, self.tensor), 1).tolist()]


@lru_cache(maxsize=256)
def find_groups(name: str, shape: tuple[int, ...], kind: Kind) -> Groups:
    """The groups ``name`` of a tensor of ``shape``.

    Raises:
        ValueError: there is no such map, or it leaves a group without words.

    >>> groups = find_groups("systolic:2x2", (3, 4), Kind.SYNAPSE)
    >>> groups.shape, groups.members((0, 1))
    ((2, 2), [(1, 0), (1, 2)])
    """
    at_least_one = shape or (1,)
    words: Places = tuple(axis.ravel() for axis in np.indices(at_least_one))
    places = tuple(np.asarray(axis) for axis in word_map(name).locate(words, at_least_one, kind))
    if not places or any(axis.shape != words[0].shape or axis.min() < 0 for axis in places):
        raise ValueError(
            f"group {name!r}: locate must give, for each axis of the groups, a whole number from 0 "
            f"on for each of the {len(words[0])} words"
        )
    groups = tuple(int(axis.max()) + 1 for axis in places)
    number = np.ravel_multi_index(places, groups)
    counts = np.bincount(number, minlength=int(np.prod(groups)))
    if not counts.all():
        empty = tuple(map(int, np.unravel_index(int(counts.argmin()), groups)))
        raise ValueError(f"group {name!r}: {empty} of {groups} has no word of shape {shape}")
    first = np.concatenate([[0], np.cumsum(counts)])
    return Groups(groups, first, np.argsort(number, kind="stable"), shape)


def split_group(layer: str) -> tuple[str, str]:
    """The family and the groups of a name; no groups are an empty name.

    >>> split_group("fc1.weight@systolic:16x16"), split_group("fc1.weight")
    (('fc1.weight', 'systolic:16x16'), ('fc1.weight', ''))
    """
    family, _, group = layer.partition(GROUPED)
    return family, group


def group_family(family: SiteFamily, group: str) -> SiteFamily | None:
    """The groups of a family as a family of their own; ``None`` where it has none of that map."""
    kind: WordMap = word_map(group)
    if family.kind not in kind.kinds or len(family.shape) < kind.least_axes - (not family.shape):
        return None
    shape = find_groups(group, family.shape, family.kind).shape
    return replace(family, name=f"{family.name}{GROUPED}{group}", shape=shape)


def find_family(known: Mapping[str, SiteFamily], layer: str) -> SiteFamily | None:
    """The family of a name, of words or of groups; ``None`` where ``known`` has none of it."""
    name, group = split_group(layer)
    if name not in known:
        return None
    return group_family(known[name], group) if group else known[name]


def expand_groups(trials: Sequence[Trial], families: Iterable[SiteFamily]) -> list[Trial]:
    """Trials in which faults of groups are faults of all their words.

    Args:
        trials: of words and groups.
        families: of the words.

    Raises:
        ValueError: a group is of no family that is given.
    """
    layers = {fault.layer for trial in trials for fault in trial}
    grouped = {layer for layer in layers if GROUPED in layer}
    if not grouped:
        return list(trials)
    known = {family.name: family for family in families}

    def expand(trial: Trial) -> Trial:
        if not any(fault.layer in grouped for fault in trial):
            return trial
        return tuple(word for fault in trial for word in _expand(fault, known))

    return list(map(expand, trials))


def _expand(fault: Fault, known: Mapping[str, SiteFamily]) -> Trial:
    name, group = split_group(fault.layer)
    if not group:
        return (fault,)
    if name not in known:
        raise ValueError(f"{fault}: the shape of {name} is not known here")
    members = find_groups(group, known[name].shape, known[name].kind).members(fault.index)
    return tuple(
        Fault(fault.injection, name, index, fault.bits, fault.model, fault.steps)
        for index in members
    )
