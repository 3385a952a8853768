"""What a network does with events before its first stage, as nodes of NIR."""

from __future__ import annotations

from itertools import product

import numpy as np
import torch
from torch import Tensor

from fi.exchange.node_makers import Made
from fi.network.stages import SpikingNetwork

#: Every so many pixels that are tried.
_STRIDES = range(1, 9)


def find_input_nodes(
    network: SpikingNetwork, events: Tensor
) -> tuple[tuple[int, ...], list[tuple[str, Made]], str | None]:
    """The shape that the file's input takes, nodes behind it, and what they cannot say.

    A network may flatten its events, or take every k-th pixel: that are nodes. Whatever else it
    does is left to who uses the file, whose input then is what the first stage sees.

    Args:
        network: whose ``encode`` it is.
        events: ``[time, batch, ...]``.
    """
    shape = tuple(events.shape[2:])
    frame = torch.arange(1.0, 1 + events[0, 0].numel(), dtype=torch.float64)
    frame = frame.to(events.dtype).reshape(1, 1, *shape)
    seen = network.encode(frame.expand(events.shape[0], 1, *shape).clone())[:1]
    if torch.equal(seen, frame):
        return shape, [], None
    if torch.equal(seen, frame.flatten(2)):
        return shape, [_make_flatten(shape)], None
    if len(shape) == 3:
        for high, wide in product(_STRIDES, _STRIDES):
            picked = frame[..., ::high, ::wide]
            pool = _make_picking(high, wide)
            if torch.equal(seen, picked):
                return shape, [pool], None
            if torch.equal(seen, picked.flatten(2)):
                return shape, [pool, _make_flatten(tuple(picked.shape[2:]))], None
    own = tuple(seen.shape[2:])
    note = f"how the input {list(own)} is made of events {list(shape)}, the network's encode()"
    return own, [], note


def _make_flatten(shape: tuple[int, ...]) -> tuple[str, Made]:
    seen = {"input": np.array(shape)}
    return "flatten", ("Flatten", {"input_type": seen, "start_dim": 0, "end_dim": -1}, {})


def _make_picking(high: int, wide: int) -> tuple[str, Made]:
    """A pool over one pixel, which skips the others."""
    size, none = np.array([1, 1]), np.array([0, 0])
    stride = np.array([high, wide])
    return "resize", ("AvgPool2d", {"kernel_size": size, "stride": stride, "padding": none}, {})
