"""What a campaign keeps of every pair, and what its engine has to tell for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fi.base.errors import UserError
from fi.campaign.running.monitor_start import MonitorStart, start_monitors
from fi.campaign.settings import Settings
from fi.campaign.subject import Subject
from fi.engine.base import Engine
from fi.engine.differential.engine import DifferentialEngine, device_of
from fi.engine.full import FullEngine
from fi.engine.monitors.monitor_set import MonitorSet
from fi.engine.spike_watch import SpikeLayers, find_spike_layers
from fi.store.identity import text_hash
from fi.store.pairs_file import PairsHead

#: Why campaigns with monitors are slow, as ``choose_engine`` says it.
WATCHED = "full engine, one fault a test run: monitors see membranes and spikes of every pair"


@dataclass(frozen=True)
class KeptPairs:
    """What is kept of every pair.

    Attributes:
        head: of the file of pairs; ``None`` where nothing is kept.
        monitored: of campaigns with monitors.
    """

    head: PairsHead | None = None
    monitored: MonitorStart | None = None

    @property
    def any(self) -> bool:
        """Whether anything is kept."""
        return self.head is not None


def start_pairs(
    level: str,
    subject: Subject,
    engine: Engine,
    monitors: MonitorSet | None,
    samples: int,
    say: Callable[[str], None],
) -> KeptPairs:
    """Have the engine tell what is kept of every pair.

    Args:
        level: what that is, one of ``LEVELS``; nothing where it is empty.
        subject: the network and its test set.
        engine: of the campaign.
        monitors: that are asked about every pair.
        samples: of the test set.
        say: takes the lines for the user.

    Raises:
        UserError: a monitor cannot take the network, or there are no training data.
    """
    if not level:
        return KeptPairs()
    staged = engine.staged if isinstance(engine, DifferentialEngine) else subject.staged
    layers = find_spike_layers(subject.network, staged, subject.trial.order)
    if level == "spikes":
        _watch_spikes(engine, layers, subject, say)
    output = layers.output if level == "spikes" else None
    if monitors is None:
        return KeptPairs(PairsHead(samples, level, output))
    assert isinstance(engine, FullEngine)
    start = start_monitors(monitors, subject, engine, layers, say)
    source = text_hash(monitors.source)
    return KeptPairs(PairsHead(samples, level, output, start.alarms, source), start)


def _watch_spikes(
    engine: Engine, layers: SpikeLayers, subject: Subject, say: Callable[[str], None]
) -> None:
    """Have the engine compare spikes, too."""
    engine.watch_spikes(layers)
    output = layers.output or "none: a layer without neurons is read"
    say(f"spikes compared: hidden layers {', '.join(layers.hidden)}; output {output}")
    if isinstance(engine, DifferentialEngine):
        events, _ = subject.batches.first()
        events = events.to(device_of(subject.network), subject.dtype)
        say(f"spikes compared: {engine.describe_spikes(events)}")


def choose_for_monitors(settings: Settings) -> str:
    """The engine of a campaign with monitors; ``UserError`` where another one is asked for."""
    if settings.engine not in ("auto", FullEngine.name):
        raise UserError(
            f"--engine {settings.engine}: not with --monitor, which sees membranes and spikes of "
            "every pair; --engine full has them"
        )
    if settings.ecc or settings.protection is not None:
        option = "--ecc" if settings.ecc else "--protect"
        raise UserError(f"--monitor: not with {option}, where a detected trial is not run")
    if settings.cluster is not None:
        raise UserError("--monitor: not with --cluster, whose workers send counts")
    return FullEngine.name
