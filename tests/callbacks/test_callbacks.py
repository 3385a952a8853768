"""What the callbacks of a campaign leave: progress lines, score files, TensorBoard points."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import torch
from campaigns import Run
from rich.console import Console

from fi.callbacks import progress
from fi.callbacks.progress import CampaignProgress, format_rate
from fi.campaign.subject import Subject
from fi.faults.fault import Fault
from fi.faults.injection import injected
from fi.store.run_summary import ListRecord


@pytest.mark.parametrize("engine", ["full", "differential"])
@pytest.mark.parametrize(("watched", "column"), [("predictions", "sdc_1"), ("scores", "masked")])
def test_progress_counts_faults_and_changes(
    campaign: Run,
    subject: Subject,
    faults: list[Fault],
    monkeypatch: pytest.MonkeyPatch,
    watched: str,
    column: str,
    engine: str,
) -> None:
    monkeypatch.setattr(progress, "_LINE", 0.0)
    text = io.StringIO()
    bar = CampaignProgress(watched, Console(file=text, width=60))
    results = campaign(subject, faults, callbacks=[bar], engine=engine).run()
    masked = results["samples"] - results["fully_masked"]
    changed = (results["sdc_1"] if column == "sdc_1" else masked).sum() / results["samples"].sum()
    lines = text.getvalue().splitlines()
    assert lines[-1].startswith(f"{len(faults)}/{len(faults)} faults")
    assert f"{100 * changed:.2f} % {watched} changed (not the accuracy loss)" in lines[-1]
    assert len(lines) >= 3  # within a run of many faults it moves with the batches
    assert any(line.endswith(" left") for line in lines)


def test_progress_says_where_it_is_not_weighed(
    campaign: Run, subject: Subject, faults: list[Fault]
) -> None:
    text = io.StringIO()
    bar = CampaignProgress(console=Console(file=text, width=60))
    source = ListRecord(scheme="layer-wise")
    campaign(subject, faults[:9], callbacks=[bar], source=source, engine="differential").run()
    assert "predictions changed (of the faults run, not weighed)" in text.getvalue()
    assert "accuracy loss" not in text.getvalue()


def test_a_bar_on_a_terminal_is_closed_after_an_error(
    campaign: Run, subject: Subject, faults: list[Fault]
) -> None:
    class Stop(CampaignProgress):
        def on_test_end(self, *args: Any) -> None:
            super().on_test_end(*args)
            if self._faults == 3:
                raise KeyboardInterrupt

    text = io.StringIO()
    bar = Stop(console=Console(file=text, width=100, force_terminal=True))
    with pytest.raises(KeyboardInterrupt):
        campaign(subject, faults, callbacks=[bar]).run()
    assert bar._bar is None
    assert f"3/{len(faults)}" in text.getvalue()
    assert text.getvalue().rstrip().endswith("\x1b[?25h")  # the cursor is shown again


@pytest.mark.parametrize("engine", ["full", "differential"])
def test_scores_are_those_of_the_faulty_network(
    campaign: Run, subject: Subject, faults: list[Fault], tmp_path: Path, engine: str
) -> None:
    faults = faults[:40]
    campaign(subject, faults, save_scores=True, engine=engine).run()
    folder, different = tmp_path / "SmallLinear" / "pt", 0
    for number, (events, labels) in enumerate(subject.batches):
        place = f"batch_size_10/batch_{number}.pt"
        with torch.no_grad():
            golden = subject.network(events)
        assert torch.equal(torch.load(folder / "clean" / place), golden)
        assert torch.equal(torch.load(folder / "label" / place), labels)
        for fault in faults:
            with injected(subject.network, fault), torch.no_grad():
                wanted = subject.network(events)
            name = f"fault_{fault.injection}_batch_{number}.pt"
            found = torch.load(folder / "faulty" / "batch_size_10" / name)
            assert torch.allclose(found, wanted, atol=1e-6)
            different += not torch.equal(wanted, golden)
    assert different > 0


def test_golden_scores_only_by_default(
    campaign: Run, subject: Subject, faults: list[Fault], tmp_path: Path
) -> None:
    campaign(subject, faults[:2]).run()
    assert sorted(p.name for p in (tmp_path / "SmallLinear" / "pt").iterdir()) == ["clean", "label"]


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0.0, "0"),
        (7.126, "7.13"),
        (999.7, "1k"),
        (153_400, "153k"),
        (999_800, "1M"),
        (4e12, "4e+03G"),
    ],
)
def test_rates_have_three_digits_and_a_unit(number: float, words: str) -> None:
    assert format_rate(number) == words
