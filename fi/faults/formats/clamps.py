"""Bounds of words and of neurons as a file, and a network that is clamped to them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import torch
import yaml
from snntorch import SpikingNeuron
from torch import Tensor, nn

from fi.base.text_files import read_parsed
from fi.faults.family_names import attribute_of, layer_of
from fi.faults.fault_sites import named_words
from fi.faults.formats.clamped_format import BEYOND, ClampedFormat
from fi.faults.formats.neuron_clamps import CURRENT, clamp_currents, clamp_spikes
from fi.faults.formats.state_formats import SPIKE, OwnStates, is_ours, own_states_of
from fi.faults.word_formats import format_of, set_format
from fi.network.neurons import spiking_neurons, state_attributes

_KEYS = {"low", "high", "beyond"}


@dataclass(frozen=True)
class Clamp:
    """The bounds of one family.

    Attributes:
        low, high: of all words, or one of each place of the first axis.
        beyond: what a value beyond them reads, ``zero`` or ``bound``.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    beyond: str

    def record(self) -> dict[str, Any]:
        """Plain values, as in the file."""
        ends = {
            name: ends[0] if len(ends) == 1 else list(ends)
            for name, ends in (("low", self.low), ("high", self.high))
        }
        return {**ends, "beyond": self.beyond}

    def tensors(self) -> tuple[Tensor, Tensor]:
        """Both bounds, float32, without an axis where they are of all words."""
        low, high = (torch.tensor(ends, dtype=torch.float32) for ends in (self.low, self.high))
        return (low, high) if len(self.low) > 1 else (low[0], high[0])


@dataclass(frozen=True)
class Clamps:
    """Bounds by site family: weights, parameters, states and spikes; and of currents.

    >>> clamps = Clamps({"fc1.weight": Clamp((-0.5,), (0.75,), "zero")})
    >>> print(clamps.text(), end="")
    clamp:
      fc1.weight: {low: -0.5, high: 0.75, beyond: zero}
    >>> Clamps.parse(clamps.text()) == clamps
    True
    """

    by_family: Mapping[str, Clamp]

    @classmethod
    def read(cls, path: Path) -> Clamps:
        """The bounds in a file; ``FileError`` names the file and what is wrong in it."""
        return read_parsed(path, cls.parse)

    @classmethod
    def parse(cls, text: str) -> Clamps:
        """The bounds of a file's text; ``ValueError`` or ``yaml.YAMLError`` says what is wrong."""
        found = yaml.safe_load(text)
        if not isinstance(found, dict) or not isinstance(found.get("clamp"), dict):
            raise ValueError("no file of bounds; it has a table 'clamp' of site families")
        return cls({str(name): _parse_clamp(name, entry) for name, entry in found["clamp"].items()})

    def text(self, comment: str = "") -> str:
        """As a file has it, behind lines of comment."""
        lines = [f"# {line}\n" for line in comment.splitlines()]
        lines.append("clamp:\n" if self.by_family else "clamp: {}\n")
        for name, clamp in self.by_family.items():
            entry = yaml.safe_dump(clamp.record(), sort_keys=False, default_flow_style=True)
            lines.append(f"  {name}: " + entry.rstrip("\n").replace("\n", "\n    ") + "\n")
        return "".join(lines)

    @property
    def digest(self) -> str:
        """SHA-256 of the bounds, whatever the file's layout and comments."""
        entries = {name: clamp.record() for name, clamp in self.by_family.items()}
        return hashlib.sha256(json.dumps(entries, sort_keys=True).encode()).hexdigest()

    def names_beside_words(self, network: nn.Module) -> list[str]:
        """The families that are no stored words of ``network``: states, currents, spikes."""
        words = named_words(network)
        return [name for name in self.by_family if name not in words]


def clamp_network(network: nn.Module, clamps: Clamps) -> None:
    """Clamp the words of ``network``, golden ones in place, and its neurons at each update.

    States are clamped after it, currents before it, spikes where a fault has changed them. Formats
    that the words were converted to before stay; ``forget_formats``, ``round_states`` and
    ``forget_current_clamps`` undo the rest.

    Raises:
        ValueError: there is no such family, its bounds do not fit its shape, or it cannot be
            clamped.
    """
    words = named_words(network)
    for name, clamp in clamps.by_family.items():
        if name in words:
            _clamp_words(network.get_submodule(layer_of(name)), name, words[name], clamp)
        else:
            _clamp_neurons(network, name, clamp)


def check_clampable(network: nn.Module, name: str) -> SpikingNeuron:
    """The neuron of states, currents or spikes; ``ValueError`` where they cannot be clamped."""
    layer, attribute = layer_of(name), attribute_of(name)
    neuron = spiking_neurons(network).get(layer)
    own = [] if neuron is None else [CURRENT, SPIKE, *state_attributes(neuron)]
    if neuron is None or attribute not in own:
        raise ValueError(f"{name} is neither words of the network nor of neurons that it has")
    quantiser = getattr(neuron, "state_quant", None)
    if attribute in (CURRENT, SPIKE):
        return neuron
    if quantiser is None or (quantiser and not is_ours(quantiser)):
        why = "has no state_quant" if quantiser is None else "has a state_quant of its own"
        kind = type(neuron).__name__
        raise ValueError(f"{name}: {layer}, a {kind}, {why}, by which states are clamped")
    return neuron


def _clamp_words(module: nn.Module, name: str, tensor: Tensor, clamp: Clamp) -> None:
    low, high = clamp.tensors()
    if low.ndim and (not tensor.ndim or len(low) != len(tensor)):
        raise ValueError(
            f"{name} of shape {list(tensor.shape)} has {len(low)} bounds; allowed: 1, or one of "
            "each place of its first axis"
        )
    attribute = attribute_of(name)
    low, high = low.to(tensor.device), high.to(tensor.device)
    form = ClampedFormat(format_of(module, attribute), low, high, clamp.beyond)
    channel = torch.arange(len(tensor) if tensor.ndim else 1)
    own = form.select(channel.reshape(-1, *[1] * (tensor.ndim - 1)) if tensor.ndim else channel[0])
    tensor.data.copy_(own.clamp(tensor.data))
    set_format(module, attribute, form)


def _clamp_neurons(network: nn.Module, name: str, clamp: Clamp) -> None:
    neuron = check_clampable(network, name)
    low, high = clamp.tensors()
    if low.ndim:
        raise ValueError(f"{name} has {len(low)} bounds; allowed for neurons: one, of the layer")
    attribute = attribute_of(name)
    if attribute == CURRENT:
        clamp_currents(neuron, low, high, clamp.beyond)
    elif attribute == SPIKE:
        try:
            clamp_spikes(neuron, low, high, clamp.beyond)
        except ValueError as problem:
            raise ValueError(f"{name}: {problem}") from None
    else:
        forms, state = own_states_of(neuron), state_attributes(neuron)[attribute]
        forms[state] = ClampedFormat(forms[state], low, high, clamp.beyond)
        neuron.state_quant = OwnStates(neuron, forms)


def _parse_clamp(name: Any, entry: Any) -> Clamp:
    if not isinstance(entry, dict) or set(entry) != _KEYS:
        raise ValueError(f"{name} is {entry!r}; it has low, high and beyond")
    if entry["beyond"] not in BEYOND:
        raise ValueError(f"{name}: beyond is {entry['beyond']!r}; allowed: {', '.join(BEYOND)}")
    low, high = (_parse_ends(name, entry[end]) for end in ("low", "high"))
    if len(low) != len(high):
        raise ValueError(f"{name} has {len(low)} low and {len(high)} high bounds")
    if any(one > other for one, other in zip(low, high, strict=True)):
        raise ValueError(f"{name}: a low bound is above its high one")
    return Clamp(low, high, str(entry["beyond"]))


def _parse_ends(name: Any, given: Any) -> tuple[float, ...]:
    ends: Sequence[Any] = given if isinstance(given, list) else [given]
    numbers = [end for end in ends if type(end) in (int, float) and isfinite(end)]
    if not ends or len(numbers) != len(ends):
        raise ValueError(f"{name}: a bound is {given!r}; allowed: finite numbers")
    return tuple(map(float, numbers))
