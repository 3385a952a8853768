"""Which engine a campaign takes, and why."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from fi.base.errors import UserError
from fi.engine.base import ENGINES, Engine, Infer
from fi.engine.differential.engine import DifferentialEngine
from fi.engine.full import FullEngine
from fi.faults.fault_sites import SiteFamily
from fi.network.recorder.recorded_network import RecordedNetwork
from fi.network.stages import SpikingNetwork


def choose_engine(
    wanted: str,
    network: nn.Module,
    infer: Infer,
    memory: int | None = None,
    threads: int | None = None,
    events: Tensor | None = None,
    find_staged: Callable[[], tuple[SpikingNetwork | None, str]] | None = None,
    families: Sequence[SiteFamily] = (),
) -> tuple[Engine, str]:
    """The engine for ``--engine wanted``, and one line that says which and why.

    Args:
        wanted: one of ``ENGINES``.
        network: that has the faults.
        infer: its scores.
        memory: budget of the differential engine, in bytes.
        threads: of the differential engine's kernels.
        events: some samples of the test set, ``[time, batch, ...]``, on which to check that the
            network can be run by its differences.
        find_staged: gives the network as stages, recorded where its forward is its own, or why
            there are none; where not given, only what declares stages has some.
        families: the network's site families; only faults of groups need them.

    Raises:
        UserError: no such engine, or it cannot take the network.
    """
    if wanted not in ENGINES:
        raise UserError(f"--engine {wanted}: allowed are {', '.join(ENGINES)}")
    if wanted == "full":
        full = FullEngine(network, infer, families)
        return full, "full engine, one fault a test run: as asked"
    staged, reason = (network, "") if find_staged is None else find_staged()
    if staged is network:
        reason = getattr(infer, "isolates", "")
    if staged is not None and not reason:
        reason = DifferentialEngine.why_not(staged, events) or ""
    if reason or staged is None:
        if wanted == "differential":
            raise UserError(f"--engine differential: {reason}; --engine full takes any network")
        full = FullEngine(network, infer, families)
        return full, f"full engine, one fault a test run: {reason}"
    engine = DifferentialEngine(staged, infer, memory, threads, families=families)
    return engine, f"differential engine, a group of faults a test run: {_describe(engine, events)}"


def _describe(engine: DifferentialEngine, events: Tensor | None) -> str:
    """Where the stages are from, and which of them have no kernels."""
    staged, why = engine.staged, "the network declares stages"
    if isinstance(staged, RecordedNetwork):
        why = f"stage graph recorded from its forward ({len(staged.stages())} stages)"
    if events is not None and (reason := engine.why_no_kernels(staged, events)):
        why += f"; in torch: {reason}"
    return why
