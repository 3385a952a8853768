"""Which engine a campaign takes, and why."""

from __future__ import annotations

from fi.engine.base import Engine
from fi.engine.full import FullEngine
from fi.errors import UserError
from fi.subject import Subject

#: What ``--engine`` takes.
ENGINES = ("auto", "full")


def choose_engine(wanted: str, subject: Subject) -> tuple[Engine, str]:
    """The engine for ``--engine wanted``, and one line that says which and why."""
    if wanted not in ENGINES:
        raise UserError(f"--engine {wanted}: allowed are {', '.join(ENGINES)}")
    full = FullEngine(subject.network, subject.infer)
    if wanted == "full":
        return full, "full engine, as asked: one fault is one test run"
    return full, "full engine: one fault is one test run"
