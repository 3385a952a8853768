"""Why two inferences of the same events may differ."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from fi.network.adapting.seeding import read_generators
from fi.network.trial.own_state import OwnState


def find_causes(
    network: nn.Module, infer: Callable[[Tensor], Tensor], events: Tensor
) -> dict[str, list[str]]:
    """What an inference shows of what makes the next one another.

    Args:
        network: any module with snnTorch neurons.
        infer: its scores.
        events: ``[time, batch, ...]``.

    Returns:
        ``draws``: generators that random numbers were drawn from; ``training``: modules in
        training mode; ``keeps``: attributes that were changed. Each is empty where there are none.
    """
    own, generators = OwnState(network), read_generators()
    with torch.no_grad():
        infer(events)
    later = read_generators()
    return {
        "draws": [name for name, state in generators.items() if state != later[name]],
        "training": [name or "the network" for name, m in network.named_modules() if m.training],
        "keeps": own.find_changes(),
    }


def explain(causes: dict[str, list[str]], takes_seed: bool) -> str:
    """What to look at, in words.

    Args:
        causes: as ``find_causes`` gives them.
        takes_seed: whether ``--forward-seed`` is for this network.
    """
    found = []
    if causes["training"]:
        found.append(f"in training mode, dropout left on: {', '.join(causes['training'][:5])}")
    if causes["draws"]:
        seed = ": --forward-seed 1 draws the same for each batch and every fault"
        found.append(
            f"the forward draws random numbers ({', '.join(causes['draws'])}), as rate coding "
            f"does, or dropout that is left on{seed if takes_seed else ''}"
        )
    if causes["keeps"]:
        found.append(f"the network keeps a state of its own: {', '.join(causes['keeps'][:5])}")
    usual = "look for randomness, a state of its own, or dropout left on in the forward"
    return "; ".join(found) or usual
