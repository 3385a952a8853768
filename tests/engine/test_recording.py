"""The golden run for the kernels: images in parts, what weights and maximum pools have seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from stage_kinds import (
    events,
    input_shape,
    linear,
    max_pools,
    mean_pools,
    network_of,
    padded,
    pools_of_spikes,
    resized,
    six_stages,
)

from fi.engine.compiled.activity_recorder import recorded_activities
from fi.engine.compiled.fast_path import FastPath
from fi.engine.compiled.golden_trace import trace_for_faults
from fi.engine.compiled.proof_margins import ProvedStage
from fi.engine.compiled.synapse_matrix import Entry
from fi.network.stages import IMAGES, Stage


@pytest.mark.parametrize("kind", [linear, max_pools, mean_pools, padded, six_stages])
def test_maximum_pools_have_seen_what_the_trace_shows(kind: Callable[[], list[Stage]]) -> None:
    network = network_of(kind, "count", torch.float64)
    signal = events(input_shape(network), 4).double()
    with torch.inference_mode():
        plain = list(network.activities(signal))
        models = FastPath(network, plain, 1 << 26, threads=1).models
        found = recorded_activities(network, models, signal)
        for model, activity, golden in zip(models, found, plain, strict=True):
            assert torch.equal(activity.spikes, golden.spikes)
            assert (activity.unpooled is not None) == model.max_pooled
            own, anew = (
                trace_for_faults(ProvedStage(model, made))
                for made in (activity, replace(activity, unpooled=None))
            )
            pairs = [*zip(own.arrays(), anew.arrays(), strict=True)]
            assert len(pairs) == 5 + 4 + 4  # the golden stage, what weights see, margins
            for array, again in pairs:
                np.testing.assert_array_equal(array, again)
    assert not any(module._forward_hooks for module in network.modules())


@pytest.mark.parametrize("kind", [linear, pools_of_spikes, resized])
@pytest.mark.parametrize("samples", [4, IMAGES])
def test_what_weights_have_seen_is_not_computed_again(
    kind: Callable[[], list[Stage]], samples: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = network_of(kind, "count", torch.float32)
    signal = events(input_shape(network), samples)
    with torch.inference_mode():
        models = FastPath(network, list(network.activities(signal)), 1 << 26, threads=1).models
        found = recorded_activities(network, models, signal)
        entries = [model is not None and model.entry is not None for model in models]
        assert [activity.entered is not None for activity in found] == entries
        assert any(entries) == (kind is not linear)
        wanted = [
            model and model.see(replace(activity, entered=None))
            for model, activity in zip(models, found, strict=True)
        ]
        monkeypatch.setattr(Entry, "see", None)
        for model, activity, expected in zip(models, found, wanted, strict=True):
            assert model is None or torch.equal(model.see(activity).inputs, expected.inputs)


def test_a_network_that_conducts_in_its_own_way_is_traced_anew() -> None:
    network = network_of(max_pools)
    signal = events(input_shape(network), 4)
    convolution = network.stages()[0].modules[0]
    with torch.inference_mode():
        models = FastPath(network, list(network.activities(signal)), 1 << 26, threads=1).models
        network.encode = lambda given: (convolution(given[0]), given)[1]  # type: ignore[method-assign]
        found = recorded_activities(network, models, signal)
    assert found[0].unpooled is None
    assert found[1].unpooled is not None or not models[1].max_pooled


def test_images_are_conducted_in_parts() -> None:
    stage = network_of(max_pools).stages()[0]
    image = events(input_shape(network_of(max_pools)), 1)
    inputs = torch.rand(5, IMAGES // 2 - 1, *image.shape[2:]).round()
    calls = []
    handle = stage.modules[0].register_forward_hook(
        lambda module, seen, out: calls.append(len(out))
    )
    with torch.inference_mode():
        currents = stage.currents(inputs)
    handle.remove()
    assert calls == [IMAGES - 2, IMAGES - 2, IMAGES // 2 - 1]  # whole steps
    alone = torch.stack([stage.conduct(step) for step in inputs])
    torch.testing.assert_close(currents, alone)


def test_no_images_are_conducted_as_well() -> None:
    stage = network_of(max_pools).stages()[0]
    inputs = events(input_shape(network_of(max_pools)), 1)[:, :0]
    with torch.inference_mode():
        assert stage.currents(inputs).shape == (len(inputs), 0, *stage.conduct(inputs[0]).shape[1:])
