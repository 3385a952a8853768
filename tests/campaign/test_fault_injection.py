"""A group of faults is in place once during its test run, or the run is refused."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import pytorch_lightning as pl
from campaigns import subject_of
from small_networks import SmallLinear

from fi.campaign.fault_injection import FaultInjection
from fi.campaign.fault_test import FaultTest
from fi.campaign.golden_run import run_golden
from fi.campaign.settings import Hardware
from fi.campaign.subject import Subject
from fi.campaign.trainer import make_trainer, run_test
from fi.engine.full import FullEngine
from fi.faults.fault import Fault
from fi.metrics.fault_counts import FaultCounts
from fi.store.identity import weights_hash

FAULT = Fault(0, "fc2.bias", (1,), 30)


def count_changed(subject: Subject, callbacks: Sequence[pl.Callback]) -> int:
    """Run the fault through a Trainer with these callbacks; the samples that are not masked."""
    trainer = make_trainer(Hardware("cpu"), callbacks)
    golden = run_golden(trainer, subject.network, subject.infer, subject.batches)
    metric = FaultCounts(1)
    test = FaultTest(FullEngine(subject.network, subject.infer), golden, metric)
    test.take_group([(FAULT,)])
    run_test(trainer, test, subject.batches)
    return metric.total("samples") - metric.total("fully_masked")


def test_the_fault_is_in_place_during_the_run_only() -> None:
    subject = subject_of(SmallLinear)
    before = weights_hash(subject.network)
    assert count_changed(subject, [FaultInjection()]) > 0
    assert weights_hash(subject.network) == before


@pytest.mark.parametrize(
    ("number", "message"), [(0, "no fault is in place"), (2, "one FaultInjection too many")]
)
def test_a_trainer_has_one_injection(number: int, message: str) -> None:
    subject = subject_of(SmallLinear)
    before = weights_hash(subject.network)
    with pytest.raises(RuntimeError, match=message):
        count_changed(subject, [FaultInjection() for _ in range(number)])
    assert weights_hash(subject.network) == before
