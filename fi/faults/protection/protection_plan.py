"""A plan of protection: which bits of which words have which scheme, as a YAML file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml

from fi.base.text_files import read_parsed
from fi.faults.csv_row import parse_bits
from fi.faults.fault import Bits, Index, format_bits
from fi.faults.fault_sites import Kind, SiteFamily
from fi.faults.protection.schemes import find_scheme

_KEYS = ("families", "scheme", "bits", "words")


@dataclass(frozen=True)
class Rule:
    """Bits of words that have one scheme.

    Attributes:
        families: pattern of site families, ``fc1.weight`` or ``*.weight``.
        scheme: its name.
        bits: of each word, ascending; empty is all of them.
        words: their indices; ``None`` is all words.
    """

    families: str
    scheme: str
    bits: Bits = ()
    words: tuple[Index, ...] | None = None

    def record(self) -> dict[str, Any]:
        """Plain values, as in the file."""
        entry: dict[str, Any] = {"families": self.families, "scheme": self.scheme}
        if self.bits:
            entry["bits"] = format_bits(self.bits)
        if self.words is not None:
            entry["words"] = [list(index) for index in self.words]
        return entry


@dataclass(frozen=True)
class ProtectionPlan:
    """The rules of a plan.

    >>> plan = ProtectionPlan((Rule("fc1.weight", "tmr", (30, 31)),))
    >>> print(plan.text(), end="")
    protect:
    - {families: fc1.weight, scheme: tmr, bits: 30-31}
    >>> ProtectionPlan.parse(plan.text()) == plan
    True
    """

    rules: tuple[Rule, ...]

    @classmethod
    def read(cls, path: Path) -> ProtectionPlan:
        """The plan in a file; ``FileError`` names the file and what is wrong in it."""
        return read_parsed(path, cls.parse)

    @classmethod
    def parse(cls, text: str) -> ProtectionPlan:
        """The plan of a file's text; ``ValueError`` or ``yaml.YAMLError`` says what is wrong."""
        found = yaml.safe_load(text)
        if not isinstance(found, dict) or not isinstance(found.get("protect"), list):
            raise ValueError("no plan of protection; it has a list 'protect' of rules")
        return cls(tuple(_parse_rule(place, rule) for place, rule in enumerate(found["protect"])))

    def text(self, comment: str = "") -> str:
        """As a file has it, behind lines of comment."""
        lines = [f"# {line}\n" for line in comment.splitlines()]
        for rule in self.rules:
            entry = yaml.safe_dump(
                rule.record(), sort_keys=False, default_flow_style=True, width=96
            )
            lines.append("- " + entry.rstrip("\n").replace("\n", "\n ") + "\n")
        head = "protect:\n" if self.rules else "protect: []\n"
        first = len(comment.splitlines())
        return "".join([*lines[:first], head, *lines[first:]])

    @property
    def digest(self) -> str:
        """SHA-256 of the rules, whatever the file's layout and comments."""
        canonical = json.dumps([rule.record() for rule in self.rules], sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()

    @property
    def name(self) -> str:
        """What to call it in a line."""
        return f"plan {self.digest[:8]}"

    def assign(self, families: Sequence[SiteFamily]) -> Iterator[tuple[SiteFamily, Rule, Bits]]:
        """Each rule with each family that it is for, and the bits there, in the plan's order.

        Raises:
            ValueError: a rule fits no family, or names bits or words that a family has not.
        """
        known = [family for family in families if family.kind is not Kind.CIRCUIT]
        for rule in self.rules:
            fitting = [family for family in known if fnmatchcase(family.name, rule.families)]
            if not fitting:
                there = ", ".join(family.name for family in known)
                raise ValueError(f"{rule.families} is no site family; there are: {there}")
            for family in fitting:
                bits = rule.bits or tuple(range(family.width))
                if bits[-1] >= family.width:
                    raise ValueError(
                        f"{family.name} has words of {family.width} bits, none is {bits[-1]}"
                    )
                for index in rule.words or ():
                    _check_index(index, family)
                yield family, rule, bits

    def added_bits(
        self, families: Sequence[SiteFamily], copies: Mapping[str, float] | None = None
    ) -> float:
        """Bits that the plan adds; ``copies``: scheme -> those of a bit, else the scheme's own."""
        given = copies or {}
        return sum(
            (family.words if rule.words is None else len(rule.words))
            * find_scheme(rule.scheme).added_bits(len(bits), given.get(rule.scheme))
            for family, rule, bits in self.assign(families)
        )


def _parse_rule(place: int, rule: Any) -> Rule:
    where = f"rule {place + 1}"
    if not isinstance(rule, dict) or not {"families", "scheme"} <= set(rule) <= set(_KEYS):
        raise ValueError(f"{where} is {rule!r}; it has families, scheme, and perhaps bits, words")
    scheme = find_scheme(str(rule["scheme"])).name
    try:
        bits = parse_bits(str(rule["bits"])) if "bits" in rule else ()
    except ValueError:
        raise ValueError(f"{where}: bits {rule['bits']}; allowed: as 30, 23-31, 3+7") from None
    words = rule.get("words")
    return Rule(str(rule["families"]), scheme, bits, None if words is None else _indices(words))


def _indices(words: Any) -> tuple[Index, ...]:
    right = isinstance(words, list) and all(isinstance(index, list) for index in words)
    if not right or any(type(digit) is not int for index in words for digit in index):
        raise ValueError("words are a list of indices, as [[3, 101], [4, 7]]")
    return tuple(dict.fromkeys(tuple(index) for index in words))


def _check_index(index: Index, family: SiteFamily) -> None:
    fits = len(index) == len(family.shape)
    if not fits or any(not 0 <= d < size for d, size in zip(index, family.shape, strict=True)):
        raise ValueError(f"{family.name} of shape {list(family.shape)} has no word {list(index)}")
