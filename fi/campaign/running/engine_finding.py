"""The engine of a campaign, checked on some samples of its test set."""

from __future__ import annotations

from collections.abc import Callable

import torch

from fi.campaign.subject import Subject
from fi.engine.base import Engine
from fi.engine.differential.engine import default_memory
from fi.engine.select import choose_engine
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
