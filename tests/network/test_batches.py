"""The test set in numbered batches: its hash, and what is loaded."""

from __future__ import annotations

import hashlib

import torch

from fi.network.batches import Batch, Batches


def make_loader() -> list[Batch]:
    """Batches of other types, sizes and strides."""
    draw = torch.Generator().manual_seed(0)
    events = torch.rand(5, 4, 12, generator=draw)
    return [
        (events > 0.5, torch.arange(4)),
        (events[:, :3].double(), torch.arange(3, dtype=torch.int32)),
        (events.transpose(0, 1), torch.arange(5)),
    ]


def test_the_digest_is_of_the_words_in_their_order() -> None:
    batches = Batches(make_loader(), "data")
    whole = b"".join(
        f"{events.dtype}{list(events.shape)}".encode()
        + events.contiguous().numpy().tobytes()
        + labels.numpy().tobytes()
        for events, labels in batches
    )
    assert batches.digest == hashlib.sha256(whole).hexdigest()


def test_the_first_batch_is_no_pass() -> None:
    batches = Batches(make_loader(), "data")
    events, _ = batches.first()
    assert events.shape == (5, 4, 12)
    assert batches.digest is None
