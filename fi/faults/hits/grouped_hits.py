"""Hits of groups as hits of their words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fi.faults.fault_sites import SiteFamily
from fi.faults.groups.grouped_families import find_groups, split_group
from fi.faults.hits.hit_space import FamilyHits


def expand_hits(drawn: Sequence[FamilyHits], families: Sequence[SiteFamily]) -> list[FamilyHits]:
    """Hits in which those of a group are the same hits of all its words.

    A word is in one group, so that no bit is hit twice.

    Args:
        drawn: of words and groups.
        families: of the words.

    >>> from fi.faults.fault_sites import Kind
    >>> from fi.faults.fault_space import FaultSpace
    >>> from fi.faults.groups.grouped_families import group_family
    >>> from fi.faults.hits.hit_space import HitSpace
    >>> from fi.faults.hits.random_numbers import HitDraw
    >>> weights = SiteFamily("fc1.weight", (4, 6), Kind.SYNAPSE)
    >>> rows = FaultSpace((group_family(weights, "row"),), bits=(30, 31))
    >>> drawn = HitSpace(rows).draw(0.3, HitDraw(1))
    >>> drawn[0].word.tolist(), drawn[0].choice.tolist()
    ([0, 3], [1, 1])
    >>> hits, = expand_hits(drawn, [weights])
    >>> hits.word.tolist()
    [0, 1, 2, 3, 4, 5, 18, 19, 20, 21, 22, 23]
    """
    known = {family.name: family for family in families}
    return [_expand(hits, known[name]) if group else hits for hits, name, group in _split(drawn)]


def _split(drawn: Sequence[FamilyHits]) -> list[tuple[FamilyHits, str, str]]:
    return [(hits, *split_group(hits.family.name)) for hits in drawn]


def _expand(hits: FamilyHits, family: SiteFamily) -> FamilyHits:
    groups = find_groups(split_group(hits.family.name)[1], family.shape, family.kind)
    sizes = np.diff(groups.first)[hits.word]
    row = np.repeat(np.arange(len(hits)), sizes)  # the hit that each word has
    place = np.arange(len(row)) - np.repeat(np.cumsum(sizes) - sizes, sizes)  # within its group
    word = groups.words[groups.first[hits.word][row] + place]
    choice, model = hits.choice[row], hits.model[row]
    order = np.lexsort((choice, word))
    return replace(hits, family=family, word=word[order], choice=choice[order], model=model[order])
