"""The engine of a campaign, checked on some samples of its test set."""

from __future__ import annotations

from collections.abc import Callable

import torch

from fi.campaign.schedule import ListedFaults
from fi.campaign.subject import Subject
from fi.engine.base import Engine
from fi.engine.differential.engine import default_memory
from fi.engine.select import choose_engine
from fi.faults.family_names import layer_of
from fi.network.recorder.recorded_network import RecordedNetwork
from fi.network.stages import SpikingNetwork

#: Samples on which it is checked that a network can be run by its differences.
_FEW = 4


def find_engine(
    subject: Subject,
    device: torch.device,
    wanted: str,
    memory: int | None,
    threads: int | None,
    find_staged: Callable[[], tuple[SpikingNetwork | None, str]],
) -> tuple[Engine, str]:
    """The engine for ``--engine wanted``, and one line that says which and why.

    Args:
        subject: the network and its data, as they are to stay: what has been set since the subject
            was made is kept.
        device: on which it is to run, whose memory is the engine's where ``memory`` says nothing.
        wanted, memory, threads, find_staged: as ``choose_engine`` takes them.

    Raises:
        UserError: no such engine, or it cannot take the network.
    """
    subject.own.take_anew()
    few = subject.batches.first()[0][:, :_FEW]
    budget = default_memory(device) if memory is None else memory
    parts = (subject.network, subject.infer, budget, threads, few, find_staged, subject.sites)
    found = choose_engine(wanted, *parts)
    subject.own.reset()  # the checks have run the network
    return found


def find_stages(subject: Subject, schedule: ListedFaults) -> tuple[SpikingNetwork | None, str]:
    """The subject's network as stages, or why there are none for these faults.

    A step of a network with a forward of its own ends with a call of its last neuron; a layer that
    is called behind that has the words of the next step, and on stages those of its own.
    """
    staged = subject.staged
    if isinstance(staged, RecordedNetwork):
        for name in schedule.transient_layers:
            if staged.is_behind_neurons(layer_of(name)):
                return None, f"{name} is read after the last neuron of a step: none ends it there"
    return staged, subject.why_not_recorded
