"""Which networks the generic differential path can run."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from snntorch import Alpha, Lapicque, Leaky, SpikingNeuron, Synaptic
from torch import Tensor, nn

from fi.network.neurons import reset_neurons, spiking_neurons
from fi.network.stages import (
    SpikingNetwork,
    Stage,
    StageActivity,
    find_sources,
    has_own_behaviour,
)
from fi.network.trial.word_access import extent_of, overlaps

#: Neurons of which each computes on its own. A class of your own says so by ``elementwise = True``.
ELEMENTWISE = (Leaky, Synaptic, Lapicque, Alpha)

#: The words of PyTorch's own layers; others (pruned, normed) are made into these by hooks.
PLAIN_WORDS = frozenset({"weight", "bias", "running_mean", "running_var", "num_batches_tracked"})

#: By what words are multiplied to see what a layer makes of large values.
_LARGE = 1000.0


def stage_modules(stage: Stage) -> Iterator[nn.Module]:
    """All modules of a stage."""
    for module in (*stage.modules, stage.neuron, stage.recurrent):
        if module is not None:
            yield from module.modules()


def why_not(network: SpikingNetwork) -> str | None:
    """Why the network cannot be run by its differences; ``None`` if it can."""
    return next(_list_reasons(network), None)


def _list_reasons(network: SpikingNetwork) -> Iterator[str]:
    for method in network.replaced_methods():
        yield f"{type(network).__name__} has a {method}() of its own"
    if find_sources(network.stages()) != [(number - 1,) for number in range(len(network.stages()))]:
        yield "a stage has other sources than the stage before it"
    if getattr(network.readout, "keeps_steps", False):
        yield "its scores are a function of all steps, which is no known readout"
    yield from _check_own_behaviour(network)
    yield from _check_neurons(network)
    yield from _check_all_in_stages(network)
    yield from _check_nothing_shared(network)


def _check_neurons(network: SpikingNetwork) -> Iterator[str]:
    for name, neuron in spiking_neurons(network).items():
        if name in getattr(network, "unread", ()):
            continue
        kind = type(neuron)
        if kind not in ELEMENTWISE and not getattr(kind, "elementwise", False):
            yield f"{name} ({kind.__name__}) is not known to be elementwise"
        if neuron.inhibition:
            yield f"{name} ({kind.__name__}) inhibits its neighbours (inhibition=True)"


def _check_all_in_stages(network: SpikingNetwork) -> Iterator[str]:
    """Modules with words outside of all stages."""
    inside = {id(module) for stage in network.stages() for module in stage_modules(stage)}
    unread = getattr(network, "unread", ())  # of a recorded network: no inference reads them
    for name, module in network.named_modules():
        words = [*module._parameters, *module._buffers]
        if words and name not in unread and id(module) not in inside:
            yield f"{name or type(network).__name__} has {words[0]}, but is part of no stage"


def _check_own_behaviour(network: SpikingNetwork) -> Iterator[str]:
    """Hooks and replaced forwards where the paths compute themselves instead of calling."""
    names = {id(module): name for name, module in network.named_modules()}
    if has_own_behaviour(network):
        yield f"{type(network).__name__} itself has a hook or a forward of its own"
    for stage in network.stages():
        for module in (stage.neuron, *(stage.recurrent.modules() if stage.recurrent else ())):
            if has_own_behaviour(module):
                name = names.get(id(module), type(module).__name__)
                yield f"{name} has a hook or a forward of its own"


def _check_nothing_shared(network: SpikingNetwork) -> Iterator[str]:
    """Modules, or words of memory, that are used in two places."""
    names = {id(module): name for name, module in network.named_modules()}
    users: dict[int, str] = {}
    words: dict[str, Tensor] = {}
    for number, stage in enumerate(network.stages()):
        for module in {id(module): module for module in stage_modules(stage)}.values():
            name = names.get(id(module), type(module).__name__)
            if isinstance(module, SpikingNeuron) and module is not stage.neuron:
                yield f"{name} is a neuron within a synapse"
            own = _own_words(module)
            if own and id(module) in users:
                yield f"{name} shares its words with {users[id(module)]} of another place"
            users[id(module)] = name
            for attribute, tensor in own.items():
                for other, taken in words.items():
                    if overlaps(extent_of(tensor), extent_of(taken)):
                        owner = other.partition(":")[2].rpartition(".")[0]
                        yield f"{name} shares its words with {owner} of another place"
                words[f"{number}:{name}.{attribute}"] = tensor


def _own_words(module: nn.Module) -> dict[str, Tensor]:
    """The module's own parameters and saved buffers that have any words."""
    stored = {**module._parameters, **module._buffers}
    transient = module._non_persistent_buffers_set
    return {
        name: tensor
        for name, tensor in stored.items()
        if tensor is not None and tensor.numel() and name not in transient
    }


def is_plain_module(module: nn.Module) -> bool:
    """Whether a module computes what PyTorch's class of that name does, from the words it has.

    Hooks, another forward, pruning, a weight norm and subclasses make it another one.
    """
    known = type(module).__module__.startswith("torch.nn.modules.")
    words = {*module._parameters, *module._buffers} <= PLAIN_WORDS
    return known and words and not has_own_behaviour(module) and not list(module.children())


@torch.no_grad()
def why_not_apart(network: SpikingNetwork, events: Tensor) -> str | None:
    """Why samples or steps of a stage cannot be computed on their own; ``None`` if they can.

    Layers of which only the modules are known, not what they compute, are tried with words a
    thousand times as large, too: what saturates may couple samples, or keep what it saw.

    Args:
        network: of stages.
        events: ``[time, batch, ...]``, some samples of the test set.
    """
    for number, activity in enumerate(network.activities(events), start=1):
        stage = network.stages()[number - 1]
        try:
            reason = _why_not_apart(stage, activity)
        except (RuntimeError, ValueError, IndexError) as error:
            reason = f"a sample or a step alone raises {type(error).__name__}"
        if reason:
            return f"stage {number}: {reason}"
    return None


def _why_not_apart(stage: Stage, activity: StageActivity) -> str | None:
    reason = _compare_parts(stage, activity.inputs, activity.currents)
    if reason is None and not all(map(is_plain_module, stage.modules)):
        for module in (inner for part in stage.modules for inner in part.modules()):
            for word in filter(Tensor.is_floating_point, _own_words(module).values()):
                reason = reason or _compare_enlarged(stage, activity, word.data)
    if reason is None and stage.recurrent is None:
        reset_neurons(stage.neuron)
        alone = stage.integrate(activity.inputs[:, :1], activity.currents[:, :1])
        reset_neurons(stage.neuron)
        if not torch.equal(alone.spikes, activity.spikes[:, :1]):
            return "a sample alone spikes otherwise than in its batch"
    return reason


def _compare_parts(stage: Stage, inputs: Tensor, currents: Tensor) -> str | None:
    """Whether a sample, and a step, alone has the currents of its batch."""
    half = len(inputs) // 2
    parts = (
        *(("a sample", inputs[:, n : n + 1], currents[:, n : n + 1]) for n in range(2)),
        ("a step", inputs[half:], currents[half:]),
    )
    for what, part, wanted in parts:
        if wanted.numel() and not are_close(stage.currents(part), wanted):
            return f"{what} alone has other currents than in its batch"
    return None


def _compare_enlarged(stage: Stage, activity: StageActivity, word: Tensor) -> str | None:
    """The same under large words of one tensor, and that nothing of it stays."""
    golden = word.clone()
    try:
        word.mul_(_LARGE)
        reason = _compare_parts(stage, activity.inputs, stage.currents(activity.inputs))
    finally:
        word.copy_(golden)
    if reason is None and not are_close(stage.currents(activity.inputs), activity.currents):
        reason = "it keeps what large values have left behind"
    return reason


def are_close(one: Tensor, other: Tensor) -> bool:
    """Whether two currents are the same but for the order of summation."""
    scale = 1 + other[other.isfinite()].abs().max() if other.isfinite().any() else 1.0
    return torch.allclose(one, other, rtol=0.0, atol=float(1e-4 * scale), equal_nan=True)
