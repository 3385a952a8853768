"""The monitors of a campaign: found by name, taught, and asked for every inference."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from fi.base.errors import UserError, first_line
from fi.base.user_classes import find_class
from fi.base.user_code import report_user_code
from fi.engine.base import Infer
from fi.engine.monitors.golden_bounds import FiringRates, MembraneBounds, OutputCounts
from fi.engine.monitors.monitor_base import Monitor, NeuronActivity
from fi.engine.spike_watch import SpikeLayers
from fi.faults.modelling.class_sources import read_source
from fi.network.batches import Batch
from fi.network.neurons import output_spikes, watch_neurons

MONITORS: dict[str, type[Monitor]] = {
    kind.name: kind for kind in (OutputCounts, MembraneBounds, FiringRates)
}
#: As many as there are bits for their alarms.
MOST = 8
#: Times that an inference is timed.
_TIMED = 15


def find_monitor(name: str) -> tuple[str, type[Monitor]]:
    """A monitor and its name: one of ``MONITORS``, ``./file.py:Class`` or ``package.Class``.

    Raises:
        UserError: there is none, or its name is no name, or taken.
    """
    if name in MONITORS:
        return name, MONITORS[name]
    if "." not in name:
        raise UserError(
            f"--monitor {name}: allowed are {', '.join(MONITORS)}, or a class of yours "
            "(./my_file.py:MyMonitor or my_package.MyMonitor)"
        )
    kind = find_class(name, "monitors")
    if not issubclass(kind, Monitor):
        raise UserError(f"--monitor {name}: {kind.__name__} is no fi.monitors.Monitor")
    own = vars(kind).get("name") or re.sub("(?<=.)(?=[A-Z])", "-", kind.__name__).lower()
    if own in MONITORS or not re.fullmatch("[a-z0-9][a-z0-9-]*", own):
        raise UserError(
            f"--monitor {name}: it is called {own!r}; allowed is a name of its own, lower case "
            "and hyphens"
        )
    return own, kind


class MonitorSet:
    """Some monitors, which look at the same inferences.

    Args:
        names: as ``--monitor`` takes them.

    Attributes:
        names: of the monitors; bit ``k`` of an alarm is that of the monitor ``k``.
        samples: on how many training samples they have learnt.

    Raises:
        UserError: there is no such monitor, one is there twice, or they are too many.
    """

    def __init__(self, names: Sequence[str]) -> None:
        found = [find_monitor(name) for name in names]
        self.names = tuple(name for name, _ in found)
        if len(set(self.names)) < len(found) or len(found) > MOST:
            raise UserError(f"--monitor {','.join(names)}: allowed are {MOST} monitors, each once")
        self.kinds = [kind for _, kind in found]
        self._monitors: list[Monitor] = []
        self.samples = 0

    @property
    def source(self) -> str:
        """Text on which the alarms depend: the user's classes."""
        own = [kind for kind in self.kinds if kind not in MONITORS.values()]
        return "\n".join(read_source(kind, Monitor) for kind in own)

    def learn(
        self, network: nn.Module, infer: Infer, layers: SpikeLayers, batches: Iterable[Batch]
    ) -> None:
        """Make the monitors anew and show them all training samples, without a fault."""
        self._monitors = [self._make(kind) for kind in self.kinds]
        self.samples = 0
        for events, labels in batches:
            with watch_activity(network, layers) as activities:
                infer(events)
            for name, monitor in zip(self.names, self._monitors, strict=True):
                with report_user_code(f"--monitor {name}: learn"):
                    monitor.learn(activities[0])
            self.samples += len(labels)
        if not self.samples:
            raise UserError("--monitor: the training data have no samples")

    def _make(self, kind: type[Monitor]) -> Monitor:
        with report_user_code(f"--monitor {kind.__name__}"):
            return kind()

    def find_alarms(self, activity: NeuronActivity, samples: int) -> Tensor:
        """Which monitors report each sample, one bit each, uint8 ``[samples]``.

        Raises:
            UserError: a monitor cannot take the network, or gives something else.
        """
        bits: Tensor | None = None
        for place in range(len(self._monitors)):
            alarms = self._ask(place, activity, samples).to(torch.uint8) << place
            bits = alarms if bits is None else bits | alarms
        assert bits is not None
        return bits

    def _ask(self, place: int, activity: NeuronActivity, samples: int) -> Tensor:
        name = self.names[place]
        try:
            found = self._monitors[place].find_alarms(activity)
        except Exception as error:  # of a user's class, whatever it is
            raise UserError(
                f"--monitor {name}: {type(error).__name__}: {first_line(error)}"
            ) from error
        right = isinstance(found, Tensor) and found.dtype == torch.bool
        if not right or found.shape != (samples,):
            shape = f"{found.dtype} {list(found.shape)}" if isinstance(found, Tensor) else found
            raise UserError(
                f"--monitor {name}: find_alarms gave {shape}; wanted is bool [{samples}]"
            )
        return found

    def time_inference(
        self, network: nn.Module, infer: Infer, layers: SpikeLayers, events: Tensor
    ) -> dict[str, float]:
        """How many times longer an inference takes with each monitor alone.

        Each is timed in turn, several times, and its shortest time counts: what else the machine
        does makes times longer, never shorter.
        """
        count = events.shape[1]

        def watch(place: int) -> None:
            with watch_activity(network, layers) as activities:
                infer(events)
            self._ask(place, activities[0], count)

        ways: list[Callable[[], Any]] = [lambda: infer(events)]
        ways += [lambda place=place: watch(place) for place in range(len(self.names))]  # type: ignore[misc]
        taken: list[list[float]] = [[] for _ in ways]
        for _ in range(_TIMED):
            for way, seconds in zip(ways, taken, strict=True):
                start = time.perf_counter()
                way()
                seconds.append(time.perf_counter() - start)
        plain, *watched = map(min, taken)
        return dict(zip(self.names, (seconds / plain for seconds in watched), strict=True))


@contextmanager
def watch_activity(network: nn.Module, layers: SpikeLayers) -> Iterator[list[NeuronActivity]]:
    """Record the inference within; afterwards its activity is in the list."""
    spikes: dict[str, list[Tensor]] = {}
    membranes: dict[str, list[Tensor]] = {}

    def note(name: str, neuron: nn.Module, output: Any) -> None:
        if name not in layers.bits:
            return
        spikes.setdefault(name, []).append(output_spikes(output).detach())
        membrane = getattr(neuron, "mem", None)
        if isinstance(membrane, Tensor) and membrane.numel():
            membranes.setdefault(name, []).append(membrane.detach())

    found: list[NeuronActivity] = []
    with watch_neurons(network, note):
        yield found
    activity = NeuronActivity(_stack(spikes), _stack(membranes), layers.output)
    found.append(activity)


def _stack(kept: Mapping[str, list[Tensor]]) -> dict[str, Tensor]:
    return {name: torch.stack(steps) for name, steps in kept.items()}
