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
    if form == "int8":
        word = round(float(np.float32(value) / np.float32(scale))) % 256
    elif form == "float16":
        (word,) = struct.unpack("<H", struct.pack("<e", value))
    else:
        word = struct.unpack("<I", struct.pack("<f", value))[0] >> 16
    word = change_bits(word, bits, model)
    if form == "int8":
        return float(np.float32(word - 256 if word > 127 else word) * np.float32(scale))
    if form == "float16":
        return float(struct.unpack("<e", struct.pack("<H", word))[0])
    return float(struct.unpack("<f", struct.pack("<I", word << 16))[0])


def word_of(network: nn.Module, form: str) -> Callable[[Oracle, str, int], torch.Tensor]:
    """``Oracle.word`` for words of another format than float32."""

    def word(oracle: Oracle, name: str, step: int) -> torch.Tensor:
        value = oracle.words[name].clone()
        layer, _, attribute = name.rpartition(".")
        scale = getattr(format_of(network.get_submodule(layer), attribute), "scale", 1.0)
        for fault in oracle.at(name, step):
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
