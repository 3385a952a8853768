"""Which engine a campaign takes, and why."""

from __future__ import annotations

from torch import nn

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
) -> tuple[Engine, str]:
    """The engine for ``--engine wanted``, and one line that says which and why.

    Args:
        wanted: one of ``ENGINES``.
        network: that has the faults.
        infer: its scores.
        memory: budget of the differential engine, in bytes.
        threads: of the differential engine's kernels.

    Raises:
        UserError: no such engine, or it cannot take the network.
    """
    if wanted not in ENGINES:
        raise UserError(f"--engine {wanted}: allowed are {', '.join(ENGINES)}")
    reason = DifferentialEngine.why_not(network)
    if wanted == "differential" and reason:
        raise UserError(f"--engine differential: {reason}; --engine full takes any network")
    if wanted == "full" or reason:
        engine: Engine = FullEngine(network, infer)
        return engine, f"full engine, one fault a test run: {reason or 'as asked'}"
    engine = DifferentialEngine(network, infer, memory, threads)
    return engine, "differential engine, a group of faults a test run: the network declares stages"
