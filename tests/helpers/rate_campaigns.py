"""Campaigns of rates that the tests make."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fi.callbacks import standard_callbacks
from fi.campaign.rates.rate_campaign import RateCampaign
from fi.campaign.rates.rate_source import make_rate_record, make_rate_trials
from fi.campaign.settings import Hardware, Settings
from fi.campaign.subject import Subject
from fi.faults.fault import Fault
from fi.sampling.plan import SamplingPlan
from fi.sampling.rate_plan import RatePlan


def rate_campaign(
    subject: Subject,
    output: Path,
    rates: Sequence[float],
    trials: int = 4,
    iterative: bool = False,
    until: float | None = None,
    plan: dict[str, Any] | None = None,
    **options: Any,
) -> RateCampaign:
    """A campaign that says nothing; ``plan`` and ``options`` are of its plan and settings."""
    callbacks = options.pop("callbacks", ())
    lines: list[str] = []
    told, remake = options.pop("say", None), options.pop("remake", None)
    hardware = Hardware(accelerator="cpu", precision=options.pop("precision", "32-true"))
    usual = {"output": output, "progress": None, "figures": False, "hardware": hardware}
    settings = Settings(**{**usual, **options})  # type: ignore[arg-type]  # by name
    given = RatePlan(tuple(rates), trials, SamplingPlan(**plan or {}), iterative)
    listed = make_rate_trials(given, subject, settings.shard, 0.99, "gaffke", until)
    return RateCampaign(
        subject,
        listed,
        settings=settings,
        source=make_rate_record(listed, 0.99, "gaffke"),
        callbacks=[*standard_callbacks(settings, of_rates=True), *callbacks],
        say=lines.append if told is None else told,
        remake=remake,
    )


def merge_words(faults: Sequence[Fault]) -> tuple[Fault, ...]:
    """One fault for all bits of a word that a model hits: an oracle's word may be NaN between."""
    bits: dict[tuple[Any, ...], list[int]] = {}
    for fault in faults:
        key = (fault.layer, fault.index, fault.model, fault.steps)
        bits.setdefault(key, []).extend(fault.bits)
    return tuple(
        Fault(0, layer, index, tuple(sorted(hit)), model, steps)
        for (layer, index, model, steps), hit in bits.items()
    )
