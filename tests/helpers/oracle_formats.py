"""The oracle's words in other formats than float32, by hand."""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np
import torch
from oracle import change_bits
from oracle_formulas import Oracle
from torch import nn

from fi.faults.word_formats import format_of


def oracle_value(value: float, form: str, scale: float, bits: tuple[int, ...], model: str) -> float:
    """A stored word with bits wrong, by hand."""
    if form.startswith("int"):
        width = int(form[3])
        word = round(float(np.float32(value) / np.float32(scale)))
        return float(np.float32(hit_integer(word, width, bits, model)) * np.float32(scale))
    if form.startswith("fixed"):
        whole, fraction = map(int, form.removeprefix("fixed:").split("."))
        return hit_integer(to_fixed(value, form), whole + fraction, bits, model) / 2**fraction
    if form == "float16":
        (word,) = struct.unpack("<H", struct.pack("<e", value))
    else:
        word = struct.unpack("<I", struct.pack("<f", value))[0] >> 16
    word = change_bits(word, bits, model)
    if form == "float16":
        return float(struct.unpack("<e", struct.pack("<H", word))[0])
    return float(struct.unpack("<f", struct.pack("<I", word << 16))[0])


def hit_integer(word: int, width: int, bits: tuple[int, ...], model: str) -> int:
    """A whole number in two's complement with bits wrong."""
    pattern = change_bits(word % 2**width, bits, model)
    return pattern - 2**width if pattern >= 2 ** (width - 1) else pattern


def to_fixed(value: float, form: str) -> int:
    """The fixed-point word nearest to a value, ties to even; it saturates."""
    whole, fraction = map(int, form.removeprefix("fixed:").split("."))
    end = 2 ** (whole + fraction - 1)
    if value != value:
        return 0
    scaled = value * 2**fraction
    return end - 1 if scaled >= end else max(-end, min(end - 1, round(max(scaled, -end))))


def scale_of(network: nn.Module, name: str, index: tuple[int, ...]) -> float:
    """The scale of a word: of its tensor, or of its channel."""
    layer, _, attribute = name.rpartition(".")
    form = format_of(network.get_submodule(layer), attribute)
    form = getattr(form, "form", form)  # behind a clamp
    scales = getattr(form, "scales", None)
    return float(getattr(form, "scale", 1.0) if scales is None else scales[index[0]])


def word_of(network: nn.Module, form: str) -> Callable[[Oracle, str, int], torch.Tensor]:
    """``Oracle.word`` for words of another format than float32."""

    def word(oracle: Oracle, name: str, step: int) -> torch.Tensor:
        value = oracle.words[name].clone()
        for fault in oracle.at(name, step):
            scale = scale_of(network, name, fault.index)
            before = float(value[fault.index])
            if fault.model == "dead":
                after = 0.0
            elif fault.model == "scale:0.5":
                after = oracle_value(before / 2, form, scale, (), "bit-flip")
            else:
                after = oracle_value(before, form, scale, fault.bits, fault.model)
            value[fault.index] = after
        return value

    return word
