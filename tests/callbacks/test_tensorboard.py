"""What TensorBoard's own reader finds of a campaign: every scalar, at the right step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from campaigns import Run
from past_campaigns import FAMILIES, counts_of, design, some_faults
from stopping import StopAfter
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fi.campaign.fault_source import make_fault_source
from fi.campaign.runner import Campaign
from fi.campaign.running_rates import RunningRates
from fi.campaign.subject import Subject
from fi.faults.fault import Fault, format_bits
from fi.metrics.counts import COUNT_COLUMNS
from fi.metrics.outcomes import OUTCOMES
from fi.statistics.histogram import Histogram
from fi.statistics.intervals import interval
from fi.statistics.result_table import OUTCOME_ROWS, OVERALL, result_table
from fi.store import write_buffer as results_buffer
from fi.store.results_file import ResultsFile

RATES = [*OUTCOMES, "non_finite", "faulty_accuracy"]
ROWS = {**OUTCOME_ROWS, "non_finite": "non_finite", "faulty_accuracy": "facc"}


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Results are stored, and told of, every 20 faults."""
    monkeypatch.setattr(results_buffer, "_FAULTS", 20)
    monkeypatch.setattr(results_buffer, "_SECONDS", 1e9)


def read(campaign: Campaign) -> EventAccumulator:
    folder = campaign.files.path / "tensorboard"
    events = EventAccumulator(
        str(folder), {"scalars": 0, "images": 0, "histograms": 0, "tensors": 0}
    )
    return events.Reload()


def sourced(campaign: Run, subject: Subject, faults: list[Fault], **options: object) -> Campaign:
    source = make_fault_source(faults, subject, Path("none"))
    return campaign(subject, faults, source=source.record, **options)


def check(events: EventAccumulator, results: pd.DataFrame, steps: list[int]) -> None:
    """Every rate of every family, at every step, is that of the first faults of the results."""
    tags, found = set(events.Tags()["scalars"]), 0
    for family in [*dict.fromkeys(results["Layer"]), OVERALL]:
        for rate in RATES:
            for end in ("", "_low", "_high"):
                tag = f"{family}/{rate}{end}"
                assert tag in tags
                points = {event.step: event.value for event in events.Scalars(tag)}
                assert len(points) == len(events.Scalars(tag))
                for step, value in points.items():
                    wanted = rates_of(results.iloc[:step], family, rate)
                    place = ("", "_low", "_high").index(end)
                    assert value == pytest.approx(wanted[place], abs=1e-6), (tag, step)
                    found += 1
                assert set(points) <= set(steps)
                if family == OVERALL:
                    assert sorted(points) == steps
    assert found > 500


def rates_of(results: pd.DataFrame, family: str, rate: str) -> tuple[float, float, float]:
    rows = results if family == OVERALL else results[results["Layer"] == family]
    column = "correct" if rate == "faulty_accuracy" else rate
    seen = Histogram.of(
        rows[column] / rows["samples"]
    )  # a list: what it is drawn from is not known
    return seen.rate, *interval([seen])


def test_every_scalar_at_its_step(campaign: Run, subject: Subject, faults: list[Fault]) -> None:
    run = sourced(campaign, subject, faults)
    results = run.run()
    events = read(run)
    steps = [*range(20, len(faults), 20), len(faults)]
    check(events, results, steps)
    (golden,) = events.Scalars("golden_accuracy")
    assert golden.step == 0
    assert golden.value == pytest.approx(run.golden.accuracy)
    final = events.Scalars("result/sdc_1")[-1]
    assert (final.step, final.value) == (len(faults), events.Scalars("all/sdc_1")[-1].value)
    assert "_hparams_/experiment" in events.summary_metadata
    assert "_hparams_/session_start_info" in events.summary_metadata


def test_the_histogram_is_of_the_accuracy_drop(
    campaign: Run, subject: Subject, faults: list[Fault]
) -> None:
    run = sourced(campaign, subject, faults)
    results = run.run()
    (event,) = read(run).Histograms("all/accuracy_drop")
    drop = (results["golden_correct"] - results["correct"]) / results["samples"]
    histogram = event.histogram_value
    assert event.step == len(faults)
    assert (histogram.num, histogram.min, histogram.max) == (
        len(faults), pytest.approx(drop.min()), pytest.approx(drop.max())
    )  # fmt: skip
    assert histogram.sum == pytest.approx(drop.sum())
    assert drop.abs().sum() > 0


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("broken")])
def test_a_continued_campaign_is_one_curve(
    campaign: Run, subject: Subject, faults: list[Fault], error: BaseException
) -> None:
    with pytest.raises(type(error)):
        sourced(campaign, subject, faults, callbacks=[StopAfter(error, runs=51)]).run()
    run = sourced(campaign, subject, faults)
    results = run.run()
    events = read(run)
    steps = [20, 40, 50, *range(70, len(faults), 20), len(faults)]
    check(events, results, sorted(set(steps)))
    assert [event.step for event in events.Scalars("golden_accuracy")] == [0, 50]


def test_figures_in_the_end(campaign: Run, subject: Subject, faults: list[Fault]) -> None:
    run = sourced(campaign, subject, faults, figures=True)
    run.run()
    events = read(run)
    assert set(events.Tags()["images"]) == {"outcomes", "bits"}
    for name in ("outcomes", "bits"):
        (image,) = events.Images(name)
        assert image.step == len(faults)
        assert (image.width, image.height) > (600, 200)
        assert image.encoded_image_string.startswith(b"\x89PNG")


def test_no_figures_unasked(campaign: Run, subject: Subject, faults: list[Fault]) -> None:
    run = sourced(campaign, subject, faults[:5])
    run.run()
    assert read(run).Tags()["images"] == []


@pytest.mark.parametrize(
    "scheme", ["network-wise", "layer-wise", "family-wise", "data-unaware", "list"]
)
def test_running_rates_are_those_of_the_table(tmp_path: Path, scheme: str) -> None:
    faults = some_faults(150)
    counts = counts_of([fault.bits[0] % 7 for fault in faults])
    file = ResultsFile(tmp_path / "results.csv")
    file.append(faults, counts)
    draw = design(scheme)
    table = result_table(file.load(), draw, 2, 0.99)
    rates = RunningRates(draw)
    array = np.stack([counts[name] for name in COUNT_COLUMNS], axis=1)
    for part in (slice(0, 70), slice(70, 150)):
        rates.add([(fault.layer, format_bits(fault.bits)) for fault in faults[part]], array[part])
    assert rates.done == 150
    for family in [*FAMILIES, OVERALL]:
        found = rates.compute_scalars(family)
        for name, row in ROWS.items():
            for end in ("", " low", " high"):
                wanted = table[family][f"{row}{end}"]
                assert found[f"{name}{end.replace(' ', '_')}"] == pytest.approx(wanted)
