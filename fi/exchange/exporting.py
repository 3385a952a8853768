"""From a network to a NIR file, and back again to see that nothing is lost."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from fi.exchange.nir_reader import read_network
from fi.exchange.nir_writer import describe_graph, write_graph
from fi.exchange.rules import Discretisation
from fi.network.neurons import find_kernel_form, reset_neurons
from fi.network.recorder.expression.replay import Passive
from fi.network.stages import SpikingNetwork


@torch.no_grad()
def export_network(
    network: nn.Module,
    staged: SpikingNetwork,
    events: Tensor,
    path: Path,
    chosen: Discretisation,
) -> list[str]:
    """Write a network as a NIR file, and compare what is read back.

    Args:
        network: whose modules have the names.
        staged: the same as stages.
        events: a batch, ``[time, batch, ...]``.
        path: of the file.
        chosen: the rule by which the file is to be read.

    Returns:
        What was written, what the file does not say, and how many spikes are the same.

    Raises:
        UserError: NIR cannot say something in it, which is named, or the file cannot be written.
    """
    graph = describe_graph(network, staged, events, chosen)
    channels_last = all(stage.channels_last for stage in staged.stages())
    write_graph(path, graph, chosen, channels_last)
    lines = [f"{path}: {len(graph.nodes)} nodes, {len(graph.edges)} edges, dt {chosen.dt!r}"]
    lines += [f"not in the file: {note}" for note in graph.notes]
    return [*lines, compare(staged, read_network(path), events)]


def compare(staged: SpikingNetwork, back: SpikingNetwork, events: Tensor) -> str:
    """How many spikes of a batch differ between a network and what was read back, one line."""
    seen = getattr(back, "shape", ())
    given = events if tuple(events.shape[2:]) == seen else staged.encode(events)
    differing = total = 0
    pairs = zip(staged.activities(events), back.activities(given), strict=True)
    for one, other in pairs:
        differing += int((one.spikes.flatten(2) != other.spikes.flatten(2)).sum())
        total += one.spikes.numel()
    reset_neurons(staged)
    said = (
        f"all {total:,} outputs" if not differing else f"{differing:,} of {total:,} outputs differ"
    )
    same = " are the same" if not differing else ""
    where = f"of neurons, {events.shape[1]} samples"
    lost = _list_changed(staged, back)
    also = f"; constants that differ: {', '.join(lost)}" if lost else ""
    return f"read back: {said} {where}{same}{also}"


def _list_changed(staged: SpikingNetwork, back: SpikingNetwork) -> list[str]:
    """Decays and thresholds that are not bit for bit what they were."""
    found = []
    for number, (one, other) in enumerate(zip(staged.stages(), back.stages(), strict=True), 1):
        if isinstance(one.neuron, Passive):
            continue
        was, now = find_kernel_form(one.neuron), find_kernel_form(other.neuron)
        for word in ("alpha", "beta", "threshold"):
            before, after = (getattr(form, word, None) for form in (was, now))
            if before is None or after is None:
                continue
            kept = before if word == "threshold" else before.clamp(0, 1)
            if not torch.equal(*torch.broadcast_tensors(kept, after)):
                found.append(f"{word} of stage {number}")
    return found
