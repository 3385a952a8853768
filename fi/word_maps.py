"""Public: what a map of words to elements of hardware of your own is made of (docs/how-to.md)."""

from __future__ import annotations

from fi.faults.groups.element_maps import WORD_MAPS, WordMap, word_map
from fi.faults.groups.user_maps import register_map

__all__ = ["WORD_MAPS", "WordMap", "register_map", "word_map"]
