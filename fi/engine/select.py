"""Which engine a campaign takes, and why."""

from __future__ import annotations

from torch import Tensor, nn

from fi.base.errors import UserError
from fi.engine.base import ENGINES, Engine, Infer
from fi.engine.differential.engine import DifferentialEngine
from fi.engine.full import FullEngine


def choose_engine(
    wanted: str,
    network: nn.Module,
    infer: Infer,
    memory: int | None = None,
    threads: int | None = None,
    events: Tensor | None = None,
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

    Raises:
        UserError: no such engine, or it cannot take the network.
    """
    if wanted not in ENGINES:
        raise UserError(f"--engine {wanted}: allowed are {', '.join(ENGINES)}")
    isolates = getattr(infer, "isolates", "")
    reason = isolates or DifferentialEngine.why_not(network, events)
    if wanted == "differential" and reason:
        raise UserError(f"--engine differential: {reason}; --engine full takes any network")
    if wanted == "full" or reason:
        engine: Engine = FullEngine(network, infer)
        return engine, f"full engine, one fault a test run: {reason or 'as asked'}"
    engine = differential = DifferentialEngine(network, infer, memory, threads)
    why = "differential engine, a group of faults a test run: the network declares stages"
    if events is not None and (reason := differential.why_no_kernels(network, events)):
        why += f"; in torch: {reason}"
    return engine, why
