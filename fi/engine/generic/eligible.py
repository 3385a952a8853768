"""Which networks the generic differential path can run."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from snntorch import Alpha, Lapicque, Leaky, SpikingNeuron, Synaptic
from torch import Tensor, nn

from fi.network.neurons import reset_neurons
from fi.network.recorder.recorded_network import RecordedNetwork
from fi.network.stages import SpikingNetwork, Stage, StageActivity, has_own_behaviour
from fi.network.trial.word_access import extent_of, overlaps

#: Neurons of which each computes on its own. A class of your own says so by ``elementwise = True``.
ELEMENTWISE = (Leaky, Synaptic, Lapicque, Alpha)

#: The words of PyTorch's own layers; others (pruned, normed) are made into these by hooks.
PLAIN_WORDS = frozenset({"weight", "bias", "running_mean", "running_var", "num_batches_tracked"})

#: By what words are multiplied to see what a layer makes of large values.
_LARGE = 1000.0
#: The part of random inputs that spike.
_RATE = 0.3


def stage_modules(stage: Stage) -> Iterator[nn.Module]:
    """All modules of a stage."""
    for module in (*stage.modules, stage.neuron, stage.recurrent):
        if module is not None:
            yield from module.modules()


def steps_apart(stage: Stage) -> bool:
    """Whether each neuron of a stage computes on its own, so that some can do without the others.

    The arithmetic is snnTorch's, the recurrence is added by the engine; a stage with hooks or
    forwards of its own in these, or of a neuron that is not known, is run as a whole.
    """
    kind = type(stage.neuron)
    known = kind in ELEMENTWISE or getattr(kind, "elementwise", False)
    recurrent = stage.recurrent.modules() if stage.recurrent is not None else ()
    own = has_own_behaviour(stage.neuron, by_element=True) or any(map(has_own_behaviour, recurrent))
    return known and not stage.neuron.inhibition and not own


def why_not(network: SpikingNetwork) -> str | None:
    """Why the network cannot be run by its differences; ``None`` if it can."""
    return next(_list_reasons(network), None)


def _list_reasons(network: SpikingNetwork) -> Iterator[str]:
    for method in network.replaced_methods():
        yield f"{type(network).__name__} has a {method}() of its own"
    if has_own_behaviour(network):
        yield f"{type(network).__name__} itself has a hook or a forward of its own"
    yield from _check_all_in_stages(network)
    yield from _check_nothing_shared(network)


def _check_all_in_stages(network: SpikingNetwork) -> Iterator[str]:
    """Modules with words outside of all stages."""
    inside = {id(module) for stage in network.stages() for module in stage_modules(stage)}
    recorded = network if isinstance(network, RecordedNetwork) else None
    inside |= {id(module) for module in recorded.closing_modules()} if recorded else set()
    idle = recorded.idle if recorded else ()
    for name, module in network.named_modules():
        words = [*module._parameters, *module._buffers]
        if words and name not in idle and id(module) not in inside:
            yield f"{name or _name(network)} has {words[0]}, but is part of no stage"


def _name(network: SpikingNetwork) -> str:
    """The class of a network, as its user knows it."""
    return network.name if isinstance(network, RecordedNetwork) else type(network).__name__


def _check_nothing_shared(network: SpikingNetwork) -> Iterator[str]:
    """Modules, or words of memory, that are used in two places."""
    names = {id(module): name for name, module in network.named_modules()}
    users: dict[int, str] = {}
    words: dict[str, Tensor] = {}
    for number, (modules, stage) in enumerate(_list_places(network)):
        neurons = list(stage.neuron.modules()) if stage else []
        within = {names.get(id(module), "") for module in neurons}
        for module in {id(module): module for module in modules}.values():
            name = names.get(id(module), type(module).__name__)
            if isinstance(module, SpikingNeuron) and module not in neurons[:1]:
                yield f"{name} is a neuron within a synapse"
            own = _own_words(module)
            if own and id(module) in users:
                yield f"{name} shares its words with {users[id(module)]} of another place"
            users[id(module)] = name
            for attribute, tensor in own.items():
                for other, taken in words.items():
                    owner = other.partition(":")[2].rpartition(".")[0]
                    inner = stage and {name, owner} <= within and not steps_apart(stage)
                    if overlaps(extent_of(tensor), extent_of(taken)) and not inner:
                        yield f"{name} shares its words with {owner} of another place"
                words[f"{number}:{name}.{attribute}"] = tensor


def _list_places(network: SpikingNetwork) -> Iterator[tuple[list[nn.Module], Stage | None]]:
    """The modules of each stage, and those that are called after the last step."""
    for stage in network.stages():
        yield list(stage_modules(stage)), stage
    if isinstance(network, RecordedNetwork):
        yield network.closing_modules(), None


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
    if reason is None:  # golden samples may be alike, as behind a norm of one value
        noise = _draw_like(activity.inputs)
        reason = _compare_parts(stage, noise, stage.currents(noise))
    if reason is None and not all(map(is_plain_module, stage.modules)):
        for module in (inner for part in stage.modules for inner in part.modules()):
            for word in filter(Tensor.is_floating_point, _own_words(module).values()):
                reason = reason or _compare_enlarged(stage, activity, word.data)
    return reason or _why_samples_meet(stage, activity)


def _draw_like(inputs: Tensor) -> Tensor:
    """Random spikes in the shape of ``inputs``, the same in each run."""
    draw = torch.Generator().manual_seed(0)
    return (torch.rand(inputs.shape, generator=draw) < _RATE).to(inputs)


def _why_samples_meet(stage: Stage, activity: StageActivity) -> str | None:
    """Whether the neurons of a sample depend on the others; the same shapes round the same way."""
    first, other = activity.currents[:, :1], activity.currents[:, -1:]
    fired = []
    for beside in (other, 2 * other.flip(0) + 1):
        reset_neurons(stage.neuron)
        currents = torch.cat([first, beside], dim=1)
        fired.append(stage.integrate(activity.inputs, currents).spikes[:, :1])
    reset_neurons(stage.neuron)
    return None if torch.equal(*fired) else "a sample spikes otherwise beside other samples"


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
