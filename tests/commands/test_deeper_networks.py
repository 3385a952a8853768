"""Campaigns on the shipped networks of many stages, as a user types them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from fi.test import main

NORM_WORDS = ("weight", "bias", "running_mean", "running_var")
SAMPLES = 3
FEW = [f"--limit-samples={SAMPLES}", "--accelerator=cpu", "--no-figures", "--quiet"]


def run_campaign(workplace: Path, model: str, *options: str) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The results and the summary of the only campaign on ``model``."""
    assert main(["--model", model, *FEW, *options]) == 0
    (path,) = (workplace / "output" / model).glob("*/results.csv")
    return pd.read_csv(path), json.loads((path.parent / "summary.json").read_text())


def test_the_preset_of_the_norms_draws_from_all_that_they_store(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--config", "vgg_norms", f"--limit-samples={SAMPLES}", "--dry-run"]) == 0
    printed = capsys.readouterr().out
    for number in range(1, 7):
        for word in NORM_WORDS:
            assert f"bn{number}.{word}" in printed
    assert "conv1.weight" not in printed


@pytest.mark.parametrize("model", ["SpikingVGG", "SEWResNet"])
def test_faults_in_the_norms_count_as_on_the_full_engine(workplace: Path, model: str) -> None:
    counts = "--model.softmax=false"  # a softmax of many spikes is 1, whatever a few more do
    options = ["--faults.layers=bn*", "--faults.bits=30", "--margin=0.3", "--verify=8"]
    results, summary = run_campaign(workplace, model, counts, *options)
    assert summary["status"] == "finished"
    assert summary["done"] == len(results) > 10
    assert {layer.rpartition(".")[2] for layer in results["Layer"]} == set(NORM_WORDS)
    assert (results["samples"] == SAMPLES).all()
    verified = summary["verified"]
    assert verified["differing"] == 0
    assert 0 < verified["unmasked"] < verified["pairs"] == 8 * SAMPLES
