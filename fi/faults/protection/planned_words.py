"""Words under a plan of protection: which faults of a trial are left behind votes and codes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from torch import nn

from fi.faults.fault import Bits, Fault, Index, Trial
from fi.faults.fault_sites import SiteFamily
from fi.faults.groups.grouped_families import expand_groups
from fi.faults.modelling.model_base import STORED
from fi.faults.protection.codes import Code
from fi.faults.protection.protected_words import ProtectedTrial, ProtectedWords, split_time
from fi.faults.protection.protection_plan import ProtectionPlan
from fi.faults.protection.schemes import find_scheme

_FLIP = "bit-flip"


@dataclass
class Shield:
    """What protects a word.

    Attributes:
        voted: bits that are always read right.
        hardened: bits that do not flip.
        codes: codes, and the bits of the word that are the data bits of each.
    """

    voted: set[int] = field(default_factory=set)
    hardened: set[int] = field(default_factory=set)
    codes: list[tuple[Code, Bits]] = field(default_factory=list)

    def has(self, bits: Iterable[int]) -> bool:
        """Whether one of ``bits`` is protected."""
        own = {*self.voted, *self.hardened, *(bit for _, coded in self.codes for bit in coded)}
        return not own.isdisjoint(bits)

    def vote(self, fault: Fault) -> Fault | None:
        """What votes and hardened cells leave of a fault."""
        kept = self.voted | self.hardened if fault.model == _FLIP else self.voted
        left = tuple(bit for bit in fault.bits if bit not in kept)
        return replace(fault, bits=left) if left else None

    def decode(self, flipped: set[int]) -> set[int] | None:
        """The bits that are wrong behind the codes; ``None`` where one reports an error."""
        wrong = set(flipped)
        for code, bits in self.codes:
            detected, errors = code.decode({bits.index(b) for b in flipped if b in bits})
            if detected:
                return None
            wrong = wrong - set(bits) | {bits[place] for place in errors}
        return wrong


class PlannedWords(ProtectedWords):
    """A network's words under a plan; the copies and check bits themselves have no fault.

    - ``tmr``: a fault is in one of three copies, the other two outvote it.
    - ``hardened-cell``: the bit does not flip; one that is stuck is stuck.
    - ``parity``, ``secded``: the protected bits of one word are the data bits of a code word.

    Args:
        network: as stored, without a fault.
        families: its site families.
        plan: which bits have which scheme.
        steps: time steps of a run.
        models: fault models that may come.

    Raises:
        ValueError: the plan does not fit the network, protects a bit twice, or has a code where
            what is stuck depends on the sample.
    """

    entry = "protect"

    def __init__(
        self,
        network: nn.Module,
        families: Sequence[SiteFamily],
        plan: ProtectionPlan,
        steps: int,
        models: Iterable[str],
    ) -> None:
        self.name, self.steps, self.plan = plan.name, steps, plan
        self._network, self._families = network, families
        self._stored = {family.name: family for family in families}
        self._words = {}
        self._shields: dict[str, dict[Index | None, Shield]] = {}
        self._assign(plan, sorted(set(models) - {_FLIP}))

    def _assign(self, plan: ProtectionPlan, stuck: Sequence[str]) -> None:
        """Give every word its schemes; those of all words of a family go to the listed ones too."""
        assigned = list(plan.assign(self._families))
        listed: dict[str, set[Index]] = defaultdict(set)
        for family, rule, _ in assigned:
            listed[family.name].update(rule.words or ())
        for family, rule, bits in assigned:
            scheme = find_scheme(rule.scheme)
            if scheme.make_code is not None and stuck and family.kind not in STORED:
                raise ValueError(
                    f"{rule.scheme} of {family.name}: whether a bit that is stuck is wrong depends "
                    f"on sample and step there; {', '.join(stuck)} needs tmr"
                )
            places: list[Index | None] = [None, *listed[family.name]]
            shields = self._shields.setdefault(family.name, {p: Shield() for p in places})
            for place in places if rule.words is None else rule.words:
                shield = shields[place]
                if shield.has(bits):
                    word = "" if place is None else str(list(place))
                    raise ValueError(f"bits of {family.name}{word} are protected twice")
                if scheme.make_code is not None:
                    shield.codes.append((scheme.make_code(len(bits)), bits))
                else:
                    (shield.voted if scheme.keeps_stuck else shield.hardened).update(bits)

    @property
    def votes(self) -> bool:
        """Whether a bit has copies that vote."""
        return any(shield.voted for found in self._shields.values() for shield in found.values())

    def protects(self, layer: str) -> bool:
        """Whether the plan has a rule for words of a family."""
        return layer in self._shields

    def find_shield(self, layer: str, index: Index) -> Shield:
        """What protects a word of a family that the plan has a rule for."""
        shields = self._shields[layer]
        return shields.get(index, shields[None])

    def _find(self, layer: str, index: Index) -> Shield | None:
        return self.find_shield(layer, index) if self.protects(layer) else None

    def decode(self, trial: Trial) -> ProtectedTrial:
        (expanded,) = expand_groups([trial], self._families)
        shields = [self._find(fault.layer, fault.index) for fault in expanded]
        pairs = list(zip(expanded, shields, strict=True))
        if not any(shield is not None and shield.has(fault.bits) for fault, shield in pairs):
            return ProtectedTrial("unprotected", trial)
        others: list[Fault] = []
        left: list[Fault] = []
        coded: dict[tuple[str, Index], list[Fault]] = defaultdict(list)
        changed = False
        for fault, shield in pairs:
            if shield is None:
                others.append(fault)
                continue
            rest = shield.vote(fault)
            changed |= rest != fault
            if rest is not None and shield.codes:
                coded[fault.layer, fault.index].append(rest)
            elif rest is not None:
                left.append(rest)
        for (layer, index), faults in coded.items():
            family, shield = self._stored[layer], self._find(layer, index)
            assert shield is not None
            for when in split_time(faults, self.steps):
                active = [f for f in faults if f.active(0 if when is None else when[0])]
                found = self._find_flips(family, active)
                changed |= bool(found)
                first = min(found, default=0) // family.width * family.width
                wrong = shield.decode({flip - first for flip in found})
                if wrong is None:
                    return ProtectedTrial("detected", ())
                left += self._as_faults(trial, family, {first + bit for bit in wrong}, when)
        fate = "missed" if left else "corrected" if changed else "unchanged"
        return ProtectedTrial(fate, (*left, *others))
