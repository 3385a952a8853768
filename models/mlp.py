"""A fully connected network of any depth."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, ClassVar

from torch import nn

from fi.network.stages import Stage

from .parts import FlatFrameNetwork, leaky


class MLP(FlatFrameNetwork):
    """fc1, lif1, fc2, lif2, ...: one stage for each hidden layer and one for the classes.

    It ships without trained weights: ``python -m fi.train --model MLP`` makes them. Events are
    ``[time, batch, channels, height, width]`` counts; the scores are a softmax of spike counts.

    Args:
        input_shape: channels, height and width of the events.
        num_classes: number of output neurons.
        hidden: number of neurons of each hidden layer.
        resize: height and width that the events are resized to, or null to leave them as they are.
        beta: membrane decay per step that training starts from, 0 to 1.
        threshold: that training starts from, above 0.
        softmax: scores are a softmax of the spike counts, else the counts.
    """

    default_training: ClassVar[dict[str, Any]] = {"epochs": 6, "lr": 4e-3}

    def __init__(
        self,
        input_shape: Sequence[int] = (2, 34, 34),
        num_classes: int = 10,
        hidden: Sequence[int] = (64, 64, 64, 64, 64),
        resize: int | None = 17,
        beta: float = 0.9,
        threshold: float = 1.0,
        softmax: bool = True,
    ) -> None:
        super().__init__(input_shape, resize, softmax)
        widths = [math.prod(self.seen), *hidden, num_classes]
        self.depth = len(widths) - 1
        for number, (before, after) in enumerate(itertools.pairwise(widths), start=1):
            self.add_module(f"fc{number}", nn.Linear(before, after))
            self.add_module(f"lif{number}", leaky([after], beta, threshold))

    def stages(self) -> list[Stage]:
        numbers = range(1, self.depth + 1)
        return [Stage(getattr(self, f"fc{n}"), getattr(self, f"lif{n}")) for n in numbers]
