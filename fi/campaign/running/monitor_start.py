"""Before a campaign with monitors: they learn, and are asked about the test set without a fault."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from fi.campaign.subject import Subject
from fi.engine.differential.engine import device_of
from fi.engine.full import FullEngine
from fi.engine.monitors.monitor_set import MonitorSet
from fi.engine.spike_watch import SpikeLayers


@dataclass(frozen=True)
class MonitorStart:
    """What is known of the monitors before the first fault.

    Attributes:
        alarms: by monitor the samples of the test set that it reports without a fault.
        learnt: on how many training samples.
        costs: by monitor how many times longer an inference takes with it, in software.
    """

    alarms: dict[str, list[int]]
    learnt: int
    costs: dict[str, float]

    def summary_entry(self) -> dict[str, Any]:
        """For ``summary.json``."""
        alarms = {name: len(found) for name, found in self.alarms.items()}
        return {"learnt": self.learnt, "false_alarms": alarms, "time": self.costs}


@torch.no_grad()
def start_monitors(
    monitors: MonitorSet,
    subject: Subject,
    engine: FullEngine,
    layers: SpikeLayers,
    say: Callable[[str], None],
) -> MonitorStart:
    """Teach the monitors, and have the engine ask them about every pair.

    Args:
        monitors: of the campaign.
        subject: the network, with training data.
        engine: of the campaign.
        layers: that they look at.
        say: takes the lines for the user.

    Raises:
        UserError: there are no training data, or a monitor cannot take the network.
    """
    device = device_of(subject.network)
    batches = subject.load_training_batches()
    shown = ((events.to(device), labels) for events, labels in batches)
    monitors.learn(subject.network, subject.infer, layers, shown)
    batches.forget()
    engine.watch_monitors(monitors, layers)
    alarms: dict[str, list[int]] = {name: [] for name in monitors.names}
    first = 0
    for number, (events, labels) in enumerate(subject.batches):
        bits = engine.find_golden_alarms(events.to(device), number)
        for place, name in enumerate(monitors.names):
            chosen = ((bits >> place) & 1).nonzero().squeeze(1)
            alarms[name] += (chosen + first).tolist()
        first += len(labels)
    events, _ = subject.batches.first()
    costs = monitors.time_inference(subject.network, subject.infer, layers, events.to(device))
    counts = ", ".join(f"{name} {len(found)}" for name, found in alarms.items())
    say(
        f"monitors learnt on {monitors.samples} training samples; of {first} test samples without "
        f"a fault they report: {counts}"
    )
    return MonitorStart(alarms, monitors.samples, costs)
