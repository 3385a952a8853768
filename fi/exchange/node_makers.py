"""Modules and neurons of a network as nodes of NIR, or what NIR cannot say of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import snntorch as snn
import torch
from snntorch import SpikingNeuron
from torch import Tensor, nn

from fi.base.errors import UserError
from fi.exchange.nir_neurons import NirNeuron, ThresholdNeuron
from fi.exchange.nir_nodes import RESET, WORD_SHAPE, WORDS, Array
from fi.exchange.nir_synapses import Scale
from fi.network.stages import has_own_behaviour

#: Type, arrays and settings, metadata: what a class of ``nir`` is made of.
Made = tuple[str, dict[str, Any], dict[str, Any]]

#: Above it a decay of 1 is reached in float32: ``1 - 2**-26`` is rounded to it.
_NO_DECAY = float(2**26)


class Unsayable(UserError):
    """NIR has no node for something; the message names it."""


def make_synapse_node(name: str, module: nn.Module, shape: tuple[int, ...]) -> Made | None:
    """The node of a module into which ``shape`` comes; ``None`` where it does nothing.

    Raises:
        Unsayable: there is no such node.
    """
    if has_own_behaviour(module) or any(module._forward_hooks):
        raise Unsayable(f"{name} has hooks or a forward of its own")
    if type(module) in (nn.Identity, nn.Dropout):
        return None
    make = _MAKERS.get(type(module))
    if make is None or not set(module._parameters) | set(module._buffers) <= _PLAIN:
        raise Unsayable(f"{name} is a {type(module).__name__}, for which NIR has no node")
    kind, arguments = make(name, module, shape)
    return kind, arguments, {}


_PLAIN = frozenset({"weight", "bias", "scale"})


def _to_array(tensor: Tensor) -> Array:
    return tensor.detach().cpu().numpy()


def _make_linear(name: str, module: Any, shape: tuple[int, ...]) -> tuple[str, dict[str, Any]]:
    weight = {"weight": _to_array(module.weight)}
    if len(shape) != 1:
        raise Unsayable(f"{name} sees {list(shape)}; a linear node of NIR takes one axis")
    if module.bias is None:
        return "Linear", weight
    return "Affine", {**weight, "bias": _to_array(module.bias)}


def _make_conv(name: str, module: Any, shape: tuple[int, ...]) -> tuple[str, dict[str, Any]]:
    if module.padding_mode != "zeros":
        raise Unsayable(f"{name} pads by {module.padding_mode}; NIR pads with zeros")
    flat = isinstance(module, nn.Conv1d)
    weight = _to_array(module.weight)
    bias = np.zeros(len(weight), weight.dtype) if module.bias is None else _to_array(module.bias)

    def pick(value: Any) -> Any:
        return value if isinstance(value, str) else int(value[0]) if flat else tuple(value)

    return "Conv1d" if flat else "Conv2d", {
        "input_shape": int(shape[1]) if flat else tuple(shape[1:]),
        "weight": weight,
        "bias": bias,
        "stride": pick(module.stride),
        "padding": pick(module.padding),
        "dilation": pick(module.dilation),
        "groups": int(module.groups),
    }


def _make_pool(name: str, module: Any, shape: tuple[int, ...]) -> tuple[str, dict[str, Any]]:
    padded = np.any(np.asarray(module.padding) > 0)
    if module.ceil_mode or (padded and not module.count_include_pad):
        raise Unsayable(f"{name} rounds sizes up or leaves padding out; NIR's pools do not")
    kernel, stride, padding = (
        np.broadcast_to(np.asarray(value, np.int64), (2,)).copy()
        for value in (module.kernel_size, module.stride, module.padding)
    )
    area = int(kernel.prod())
    if module.divisor_override not in (None, 1, area):
        raise Unsayable(f"{name} divides by {module.divisor_override}; NIR by {area} or not at all")
    kind = "SumPool2d" if module.divisor_override == 1 else "AvgPool2d"
    return kind, {"kernel_size": kernel, "stride": stride, "padding": padding}


def _make_flatten(name: str, module: Any, shape: tuple[int, ...]) -> tuple[str, dict[str, Any]]:
    axes = len(shape) + 1
    first, last = (axis % axes for axis in (module.start_dim, module.end_dim))
    if first < 1:
        raise Unsayable(f"{name} flattens the batch")
    seen = {"input": np.array(shape)}
    return "Flatten", {"input_type": seen, "start_dim": first - 1, "end_dim": last - 1}


def _make_scale(name: str, module: Any, shape: tuple[int, ...]) -> tuple[str, dict[str, Any]]:
    return "Scale", {"scale": np.broadcast_to(_to_array(module.scale), shape).copy()}


_MAKERS: dict[type, Callable[..., tuple[str, dict[str, Any]]]] = {
    nn.Linear: _make_linear,
    nn.Conv1d: _make_conv,
    nn.Conv2d: _make_conv,
    nn.AvgPool2d: _make_pool,
    nn.Flatten: _make_flatten,
    Scale: _make_scale,
}


def make_neuron_node(name: str, neuron: SpikingNeuron, shape: tuple[int, ...], dt: float) -> Made:
    """The node of the neurons ``shape`` of a layer.

    Words that neurons share are spread, as NIR wants it; the metadata say what they were.

    Raises:
        Unsayable: it does what no neuron of NIR does.
    """
    if isinstance(neuron, ThresholdNeuron):
        kind, words, reset = "Threshold", {"threshold": neuron.threshold}, None
    elif isinstance(neuron, NirNeuron):
        kind, reset = neuron.kind, neuron.reset_to
        words = {word: neuron.exact(word) for word in WORDS[kind]}
    else:
        _check_snntorch(name, neuron)
        kind, words = _read_snntorch(neuron, dt)
        reset = "subtract" if neuron._reset_mechanism == "subtract" else "value"
    metadata: dict[str, Any] = {} if reset is None else {RESET: reset}
    spread: dict[str, Any] = {}
    for word, value in words.items():
        own = value.detach().double()
        if own.ndim == len(shape) + 1:  # a batch dimension of one
            own = own.squeeze(0)
        if tuple(own.shape) != shape:
            metadata[f"{WORD_SHAPE}.{word}"] = ",".join(map(str, own.shape))
        spread[word] = own.expand(shape).cpu().numpy().copy()
    return kind, spread, metadata


def _check_snntorch(name: str, neuron: SpikingNeuron) -> None:
    kind = type(neuron).__name__
    if type(neuron) not in (snn.Leaky, snn.Synaptic):
        raise Unsayable(f"{name} is a {kind}; NIR has what Leaky and Synaptic do")
    if has_own_behaviour(neuron) or neuron.inhibition or neuron.state_quant:
        raise Unsayable(f"{name} has hooks, a forward of its own, inhibition or quantised states")
    if not neuron.reset_delay or neuron._reset_mechanism == "none":
        raise Unsayable(f"{name} resets never, or at once (reset_delay=False)")
    if bool((neuron.graded_spikes_factor != 1).any()):
        raise Unsayable(f"{name} has spikes other than 1")


def _read_snntorch(neuron: SpikingNeuron, dt: float) -> tuple[str, dict[str, Tensor]]:
    """NIR's words of a ``Leaky`` or ``Synaptic``, float64."""
    threshold = neuron.threshold.detach().double()
    fires = {"v_threshold": threshold, "v_reset": torch.zeros_like(threshold)}
    beta = neuron.beta.detach().double().clamp(0, 1)
    tau = _find_tau(beta, dt)
    leak = torch.zeros_like(beta)
    if isinstance(neuron, snn.Synaptic):
        tau_syn = _find_tau(neuron.alpha.detach().double().clamp(0, 1), dt)
        words = {"tau_syn": tau_syn, "tau_mem": tau, "r": tau / dt, "v_leak": leak}
        return "CubaLIF", {**words, **fires, "w_in": tau_syn / dt}
    if bool((beta == 1).all()):
        return "IF", {"r": torch.full_like(beta, 1 / dt), **fires}
    return "LIF", {"tau": tau, "r": tau / dt, "v_leak": leak, **fires}


def _find_tau(decay: Tensor, dt: float) -> Tensor:
    """The time constant of ``decay = 1 - dt / tau``; of none at all one so long that it is none."""
    return dt * torch.where(decay == 1, _NO_DECAY, 1 / (1 - decay))
