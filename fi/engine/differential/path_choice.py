"""Which faults of a group take the kernels, and which the generic path."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from torch import nn

from fi.engine.compiled.fast_path import FastPath
from fi.engine.compiled.fault_arrays import find_parameter_values
from fi.engine.compiled.kernels.arrays import Array
from fi.engine.compiled.stage_constants import StageModel
from fi.faults.fault import Fault
from fi.faults.fault_sites import INPUT
from fi.faults.lines.faulty_lines import find_line_models
from fi.network.stages import EVENTS

#: Above it the sums of a norm or of a mean pool may overflow before they are scaled.
HUGE = 1e30
#: A weight is large that is so many times the largest golden one of its tensor, or of 1.
LARGE = 32.0
#: Models that leave spikes 0 or 1, which differences hold exactly.
EVEN_MODELS = frozenset({"dead", "saturated"})


def choose_kernels(fast: FastPath, faults: Sequence[Fault]) -> Array:
    """For each fault whether the kernels take it, bool ``[faults]``."""
    taken = np.zeros(len(faults), bool)
    carried = find_line_models(faults)
    layers: dict[str, list[int]] = defaultdict(list)
    for place, fault in enumerate(faults):
        if fault.model not in carried:
            layers[fault.layer].append(place)
    for layer, places in layers.items():
        if fast.takes(faults[places[0]]):
            taken[places] = _choose_of_family(fast, layer, [faults[place] for place in places])
    return taken


def _choose_of_family(fast: FastPath, layer: str, faults: Sequence[Fault]) -> Array:
    """The same for faults of one family that has a kernel."""
    known = [model for model in fast.models if model is not None]
    if layer == INPUT:
        readers = [
            model
            for model, sources in zip(fast.models, fast.sources, strict=True)
            if model is not None and EVENTS in sources
        ]
        exact = not any(
            _rescales(model) or model.feedback is not None or model.entry is not None
            for model in readers
        )
        read_out = fast.maximum and fast.models[-1] in readers
        return np.full(len(faults), exact and not read_out)
    module, attribute = fast.planner.find_module(layer)
    owners = [model for model in known if model.synapse.weights is module]
    if not owners:
        return np.ones(len(faults), bool)
    if owners[0] is fast.models[-1] and fast.maximum:
        return np.ones(len(faults), bool)
    if _is_plain(owners[0]):
        return np.ones(len(faults), bool)
    _, faulty, _ = find_parameter_values(module, attribute, faults)
    return np.abs(faulty) < HUGE


def _is_plain(model: StageModel) -> bool:
    """Whether ``golden + change * input`` is what PyTorch computes for any change.

    What an infinite weight makes of padding is PyTorch's own affair, and where a norm or a mean
    scales a sum that overflows, so is the result.
    """
    synapse = model.synapse
    inside = (synapse.taps >= 0).all() and (synapse.windows >= 0).all()
    return bool(inside) and not _rescales(model)


def _rescales(model: StageModel) -> bool:
    """Whether a norm or a mean scales its sums."""
    synapse = model.synapse
    normed = any(module is not synapse.weights for module in synapse.before_pool if _scales(module))
    return normed or synapse.mean


def _scales(module: nn.Module) -> bool:
    return any(True for _ in module.buffers()) or any(True for _ in module.parameters())
