"""A network of the stages that a NIR file describes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fi.network.readouts import Readout
from fi.network.stages import SpikingNetwork, Stage


class _Group(nn.Module):
    """Modules whose names have the same begin: ``lif1`` of ``lif1.w_rec``."""


class NirNetwork(SpikingNetwork):
    """Stages whose modules have the names of the file's nodes.

    Args:
        modules: by name; dots make groups, as in PyTorch.
        stages: in the order in which spikes pass them.
        shape: of a frame that the file's input takes.
        readout: how the output becomes scores.
    """

    def __init__(
        self,
        modules: dict[str, nn.Module],
        stages: Sequence[Stage],
        shape: tuple[int, ...],
        readout: Readout,
    ) -> None:
        super().__init__(readout)
        for name, module in modules.items():
            _put_in(self, name, module)
        self.__dict__["planned"] = tuple(stages)
        self.shape = shape

    def stages(self) -> list[Stage]:
        return list(self.__dict__["planned"])

    def encode(self, events: Tensor) -> Tensor:
        """The events ``[time, batch, ...]`` in the shape that the file's input takes.

        Raises:
            ValueError: they have another number of values.
        """
        frame = events.shape[2:]
        if tuple(frame) == self.shape:
            return events
        if torch.Size(self.shape).numel() != frame.numel():
            raise ValueError(
                f"the file's input takes {list(self.shape)}, but the events give {list(frame)}"
            )
        return events.reshape(*events.shape[:2], *self.shape)

    def get_submodule(self, target: str) -> nn.Module:
        """The module of that name, whatever attributes this class has."""
        found: nn.Module = self
        for part in target.split(".") if target else ():
            inner = found._modules.get(part)
            if inner is None:
                raise AttributeError(f"the file has no node {target!r}")
            found = inner
        return found

    def extra_repr(self) -> str:
        softmax = getattr(self.readout, "softmax", False)
        return f"shape={list(self.shape)}, {type(self.readout).__name__}, softmax={softmax}"


def _put_in(network: nn.Module, name: str, module: nn.Module) -> None:
    """Make ``module`` a part of the network; a node may be named as a method of the class is."""
    *groups, last = name.split(".")
    holder = network
    for group in groups:
        inner = holder._modules.get(group)
        if inner is None:
            inner = holder._modules[group] = _Group()
        holder = inner
    holder._modules[last] = module
