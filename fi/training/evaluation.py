"""How good a trained network is, and how often its neurons fire."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from fi.campaign.training_data import make_loader
from fi.network.batches import Batches
from fi.training.fault_map import FaultMap
from fi.training.firing import measure_firing_rates
from fi.training.module import Training


def describe_training(
    module: Training, data: Any, metrics: dict[str, float], chip: FaultMap | None = None
) -> list[str]:
    """Lines on the accuracy on validation and test samples, and on each layer's firing rate.

    Args:
        module: the trained network, which ends on the CPU.
        data: the datamodule; without test samples only the validation is told.
        metrics: what ``fit`` returned.
        chip: under whose faults the validation was; the test is told with and without them.
    """
    lines = []
    under = "" if chip is None else f" under {chip.name}"
    if "best_val_accuracy" in metrics:
        lines.append(f"Validation accuracy{under} {metrics['best_val_accuracy']:.2%}")
    if hasattr(data, "setup"):
        data.setup("test")
    test = make_loader(data, "test_dataloader")
    if test is None:
        return lines
    network = module.network.cpu().float().eval()
    batches = Batches(test, type(data).__name__)
    lines.append(f"Test accuracy {measure_accuracy(module, batches):.2%}")
    if chip is not None:
        with chip.inject_to_evaluate():
            lines.append(f"Test accuracy{under} {measure_accuracy(module, batches):.2%}")
    rates = measure_firing_rates(network, module.logits, batches)
    return lines + [_describe_rate(name, rate) for name, rate in rates.items()]


def _describe_rate(name: str, rate: Tensor) -> str:
    return (
        f"{name} fires at {rate.mean():.1%} of the steps; "
        f"{(rate == 0).float().mean():.1%} of its neurons never do"
    )


@torch.no_grad()
def measure_accuracy(module: Training, batches: Iterable[Any]) -> float:
    """Part of the samples that the network classifies right."""
    right = total = 0
    for events, labels in batches:
        right += int((module.logits(events).argmax(dim=-1) == labels).sum())
        total += len(labels)
    return right / total
