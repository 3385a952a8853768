"""Number formats of stored words: what a weight or parameter is in the memory of the hardware.

The network computes in float32 on the values that the words stand for; a fault hits the word.
Spikes and inputs are float32 words whatever the format, and states where they are not rounded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from fi.faults.formats.integer_formats import WIDEST_FIXED, ByChannel, Fixed, Int4, Int8
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

    def select(self, channel: Tensor) -> WordFormat:
        """The format of words in these places of the first axis, int64 of the shape of the words.

        It is the format itself but where each channel has its own scale.
        """


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

    def select(self, channel: Tensor) -> FloatFormat:
        return self


FLOAT32 = FloatFormat("float32", 32, torch.float32, torch.int32)
FLOAT16 = FloatFormat("float16", 16, torch.float16, torch.int16)
BFLOAT16 = FloatFormat("bfloat16", 16, torch.bfloat16, torch.int16)


#: What ``--format`` takes.
FORMATS = (
    *("float32", "float16", "bfloat16", "int8", "int8-channel", "int4", "int4-channel"),
    "fixed:I.F",
)


def check_format(name: str) -> None:
    """Raise ``ValueError``, naming those there are, for what is no format."""
    if name == FORMATS[-1] or (name not in FORMATS and Fixed.parse(name) is None):
        raise ValueError(
            f"format {name!r}; allowed: {', '.join(FORMATS)} with 1 bit or more before the point "
            f"and {WIDEST_FIXED} at most in all"
        )


def find_format(name: str, tensor: Tensor) -> WordFormat:
    """The format ``name`` of the words of ``tensor``."""
    kind = Int4 if name.startswith("int4") else Int8
    if name in (Int4.name, Int8.name):
        return kind.of(tensor)
    if name.startswith("int"):
        return ByChannel.of(tensor, kind)
    floats = {form.name: form for form in (FLOAT32, FLOAT16, BFLOAT16)}
    form = floats.get(name) or Fixed.parse(name)
    assert form is not None
    return form


def format_of(module: nn.Module, attribute: str) -> WordFormat:
    """The format of a tensor's words; float32 unless the network was converted."""
    form: WordFormat = vars(module).get(_ATTRIBUTE, {}).get(attribute, FLOAT32)
    return form


def set_format(module: nn.Module, attribute: str, form: WordFormat) -> None:
    """Take a tensor's words for words of ``form``; the values stay as they are."""
    vars(module)[_ATTRIBUTE] = {**vars(module).get(_ATTRIBUTE, {}), attribute: form}


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
    check_format(name)
    neurons = set(spiking_neurons(network).values())
    for module in network.modules():
        converted: dict[str, WordFormat] = {}
        for attribute in neuron_words(module) if module in neurons else stored_names(module):
            tensor = getattr(module, attribute)
            if tensor is not None and tensor.is_floating_point():
                form = find_format(name, tensor.detach())
                channel = torch.arange(len(tensor) if tensor.ndim else 1)
                own = form.select(channel.reshape(-1, *[1] * (tensor.ndim - 1)))
                tensor.data.copy_(own.decode(own.encode(tensor.data.float())))
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
