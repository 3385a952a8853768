"""How the pairs of a campaign were decided: without a simulation, by one, or at the readout."""

from __future__ import annotations

from dataclasses import asdict

from fi.engine.base import Engine
from fi.engine.differential.engine import DifferentialEngine
from fi.engine.full import FullEngine
from fi.store.decisions import add_decided


class Decisions:
    """Counts how an engine decides pairs, from the moment it is made.

    Args:
        engine: the engine of the campaign.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._before = _tally(engine)

    def count(self, pairs: int, others: int = 0) -> dict[str, int]:
        """Pairs by way; they add up to ``pairs + others``.

        Args:
            pairs: those that this process ran.
            others: those of other processes.
        """
        ways = {way: n for way, n in self._ways(pairs).items() if n}
        return add_decided(ways, {"not_counted": others} if others else {})

    def _ways(self, pairs: int) -> dict[str, int]:
        if isinstance(self._engine, FullEngine):
            return {"forward": pairs}
        now = _tally(self._engine)
        if now is None:
            return {"not_counted": pairs}
        before = self._before or dict.fromkeys(now, 0)
        seen = {key: value - before[key] for key, value in now.items()}
        return {
            "no_change": pairs - seen["pairs"],
            "proof": seen["pairs"] - seen["simulated"],
            "own_stage": seen["simulated"] - seen["diverged"],
            "later_stage": seen["diverged"] - seen["computed"],
            "readout": seen["computed"],
        }


def own_share(faults: int, group: int, processes: int) -> int:
    """How many of ``faults`` the first process ran, as ``FaultTest.take`` splits each group."""
    whole, rest = divmod(faults, group)
    return whole * (group // processes) + rest // processes


class Shares:
    """How many of the faults of a run the first process ran, look after look.

    Args:
        processes: among which each group is split.
    """

    def __init__(self, processes: int) -> None:
        self._processes = processes
        self._looks: list[tuple[int, int]] = []

    def look(self, faults: int, group: int) -> None:
        """The next ``faults`` are run in groups of ``group``."""
        self._looks.append((faults, group))

    def own(self, done: int) -> int:
        """Of the first ``done`` faults those that the first process ran."""
        own = 0
        for faults, group in self._looks:
            own += own_share(min(done, faults), group, self._processes)
            done = max(0, done - faults)
        return own


def _tally(engine: Engine) -> dict[str, int] | None:
    tally = engine.tally if isinstance(engine, DifferentialEngine) else None
    return None if tally is None else asdict(tally)
