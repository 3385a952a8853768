"""How weights are found, in numbers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """How weights are found.

    Attributes:
        epochs: passes over the training samples.
        lr: Adam's first learning rate; it falls to 0 as half a cosine.
        neuron_lr: learning rate of betas and thresholds, as a part of ``lr``.
        temperature: cross-entropy is of spike counts divided by it.
        rate_penalty: added to the loss times the mean squared firing rate of each layer: neurons
            that fire all the time cost energy and tell little.
        shift: each sample is moved by up to this many pixels in both directions.
        seed: of the first weights and of every draw.
    """

    epochs: int = 6
    lr: float = 2e-3
    neuron_lr: float = 0.2
    temperature: float = 4.0
    rate_penalty: float = 0.0
    shift: int = 0
    seed: int = 51196


def default_recipe(network: object) -> Recipe:
    """The recipe of a network's class attribute ``default_training``, by name of the option.

    Example:
        >>> class Slow:
        ...     default_training = {"epochs": 30}
        >>> default_recipe(Slow).epochs, default_recipe(None).epochs
        (30, 6)
    """
    return Recipe(**getattr(network, "default_training", {}))
