"""The shipped networks with their own weights, on a few digits."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from fi.base.user_classes import find_class
from fi.campaign.subject import Subject
from fi.datamodules import event_camera, saccade_mnist
from fi.network.checkpoint import checkpoint_of, load_checkpoint

read_digits = cache(saccade_mnist.digits)  # which is a long text file


def shipped(name: str, samples: int) -> Subject:
    """A shipped network on the first test digits."""
    network = find_class(name, "models")()
    load_checkpoint(network, checkpoint_of(network, None))
    return Subject(network, [first_digits(samples)])


def first_digits(samples: int) -> tuple[Tensor, Tensor]:
    """The first test digits of SaccadeMNIST, ``[time, batch, 2, 34, 34]``, and their labels."""
    images, labels = read_digits()
    chosen = saccade_mnist.split(labels, 400)["test"][:samples]
    frames = event_camera.emulate(images[chosen], 25, 0.18)
    return torch.from_numpy(frames).float().movedim(1, 0), torch.from_numpy(labels[chosen])
