"""NIR graphs for tests, written by the ``nir`` package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

nir: Any = pytest.importorskip("nir", reason="the nir package is not installed: .[nir]")


def make_lif(shape: tuple[int, ...], tau: float, dt: float, **other: float) -> Any:
    """A LIF node that a current enters as it is, with snnTorch's ``r = tau / dt``."""
    words = {"r": tau / dt, "v_leak": 0.0, "v_threshold": 1.0, "v_reset": 0.0, **other}
    return nir.LIF(tau=np.full(shape, tau), **{k: np.full(shape, v) for k, v in words.items()})


def make_graph(neurons: list[Any], inputs: tuple[int, ...] = (2, 4, 4), seed: int = 0) -> Any:
    """Flatten, then an affine layer before each of the neurons."""
    draw = np.random.default_rng(seed)
    nodes: list[Any] = [nir.Flatten({"input": np.array(inputs)}, start_dim=0, end_dim=-1)]
    width = int(np.prod(inputs))
    for neuron in neurons:
        (count,) = next(iter(neuron.input_type.values()))
        weight = draw.normal(0, 0.6, (int(count), width)).astype(np.float32)
        nodes += [nir.Affine(weight, draw.normal(0, 0.1, int(count)).astype(np.float32)), neuron]
        width = int(count)
    return nir.NIRGraph.from_list(nir.Input({"input": np.array(inputs)}), *nodes)


def write(path: Path, graph: Any) -> Path:
    """Write a graph of any framework; arrays of torch and sizes that are missing are mended."""
    for node in graph.nodes.values():
        for name, value in list(vars(node).items()):
            if isinstance(value, (torch.Tensor, np.ndarray)):
                setattr(node, name, np.atleast_1d(np.asarray(value)))
            if name == "input_shape" and value is None:
                node.input_shape = (0, 0)
            if name == "input_type" and value.get("input") is None:
                node.input_type = {"input": np.array([1])}
    nir.write(path, graph)
    return path


def draw_events(
    steps: int, samples: int, shape: tuple[int, ...], rate: float = 0.4
) -> torch.Tensor:
    """Random events ``[steps, samples, *shape]``, the same in each run."""
    draw = torch.Generator().manual_seed(3)
    return (torch.rand(steps, samples, *shape, generator=draw) < rate).float()
