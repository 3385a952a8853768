"""Number formats of stored words: what a weight or parameter is in the memory of the hardware.

The network computes in float32 on the values that the words stand for; a fault hits the word.
States, spikes and inputs are float32 words whatever the format.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn

from fi.network.neurons import neuron_words, spiking_neurons

_ATTRIBUTE = "_word_formats"


class WordFormat(Protocol):
    """A format of words of ``bits`` bits."""

    @property
    def name(self) -> str:
        """As on the command line."""

    @property
    def bits(self) -> int:
        """Bits of a word."""

    def encode(self, values: Tensor) -> Tensor:
        """The words nearest to float32 ``values``: int32, no bit set above the word's."""

    def decode(self, words: Tensor) -> Tensor:
        """The float32 values of int32 ``words``; bits above the word's do not count."""


@dataclass(frozen=True)
class FloatFormat:
    """An IEEE 754 format, or bfloat16; rounding is to nearest, ties to even."""

    name: str
    bits: int
    values: torch.dtype
    words: torch.dtype

    def encode(self, values: Tensor) -> Tensor:
        words = values.to(self.values).contiguous().view(self.words).to(torch.int32)
        return words & 0xFFFF if self.bits == 16 else words

    def decode(self, words: Tensor) -> Tensor:
        return words.to(self.words).view(self.values).to(torch.float32)


FLOAT32 = FloatFormat("float32", 32, torch.float32, torch.int32)
FLOAT16 = FloatFormat("float16", 16, torch.float16, torch.int16)
BFLOAT16 = FloatFormat("bfloat16", 16, torch.bfloat16, torch.int16)


@dataclass(frozen=True)
class Int8:
    """Two's complement of 8 bits times ``scale``, the same for a whole tensor.

    Symmetric: golden words are -127 to 127; a fault may make -128.
    """

    scale: float
    name: ClassVar[str] = "int8"
    bits: ClassVar[int] = 8

    @classmethod
    def of(cls, tensor: Tensor) -> Int8:
        """The format in which the largest magnitude of ``tensor`` is 127."""
        if not bool(tensor.isfinite().all()):
            raise ValueError("a tensor with infinite or NaN values has no int8 words")
        largest = float(tensor.abs().max()) if tensor.numel() else 0.0
        return cls(float(torch.tensor(largest) / 127) or 1.0)

    def encode(self, values: Tensor) -> Tensor:
        steps = (values / self.scale).nan_to_num(0.0).round().clamp(-127, 127)
        return steps.to(torch.int32) & 0xFF

    def decode(self, words: Tensor) -> Tensor:
        return words.to(torch.int8).to(torch.float32) * self.scale


#: What ``--format`` takes.
FORMATS = ("float32", "float16", "bfloat16", "int8")


def format_of(module: nn.Module, attribute: str) -> WordFormat:
    """The format of a tensor's words; float32 unless the network was converted."""
    form: WordFormat = vars(module).get(_ATTRIBUTE, {}).get(attribute, FLOAT32)
    return form


def forget_formats(network: nn.Module) -> None:
    """Take all words for float32 again, whatever an earlier conversion noted."""
    for module in network.modules():
        vars(module).pop(_ATTRIBUTE, None)


def convert(network: nn.Module, name: str) -> None:
    """Round every stored word of ``network`` to the format ``name``, in place.

    These are its floating-point parameters and saved buffers, those of neurons included.

    Raises:
        ValueError: there is no such format, or a tensor has no words in it.

    >>> layer = nn.Linear(1, 2, bias=False)
    >>> _ = layer.weight.data.copy_(torch.tensor([[1.27], [0.504]]))
    >>> convert(layer, "int8")  # of these weights, words of 0.01
    >>> layer.weight.data.flatten()
    tensor([1.2700, 0.5000])
    >>> format_of(layer, "weight").bits
    8
    """
    if name not in FORMATS:
        raise ValueError(f"format {name!r}; allowed: {', '.join(FORMATS)}")
    formats = {form.name: form for form in (FLOAT32, FLOAT16, BFLOAT16)}
    neurons = set(spiking_neurons(network).values())
    for module in network.modules():
        converted: dict[str, WordFormat] = {}
        for attribute in neuron_words(module) if module in neurons else stored_names(module):
            tensor = getattr(module, attribute)
            if tensor is not None and tensor.is_floating_point():
                form = formats.get(name) or Int8.of(tensor.detach())
                tensor.data.copy_(form.decode(form.encode(tensor.data.float())))
                converted[attribute] = form
        vars(module)[_ATTRIBUTE] = converted


def stored_names(module: nn.Module) -> list[str]:
    """The module's own parameters and saved buffers."""
    if isinstance(module, torch.jit.ScriptModule):
        raise ValueError(
            "a scripted or traced module has no words that can be struck: give it as "
            "it was before torch.jit"
        )
    saved = [name for name in module._buffers if name not in module._non_persistent_buffers_set]
    return [*module._parameters, *saved]
