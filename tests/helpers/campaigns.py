"""Subjects and campaigns that the tests make."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from small_networks import INPUT_SHAPES, event_batches, small
from torch import nn

from fi.campaign.runner import Campaign
from fi.campaign.subject import Subject

#: What the fixture ``campaign`` is: makes a campaign of a subject and its faults.
Run = Callable[..., Campaign]


def subject_of(kind: type[nn.Module], **options: Any) -> Subject:
    """A small network with its data."""
    return Subject(small(kind), event_batches(INPUT_SHAPES[kind]), **options)
