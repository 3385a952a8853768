"""The faults of one piece of hardware, in place whenever a network is trained or judged."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from torch import nn

from fi.base.errors import UserError
from fi.faults.csv_row import fault_list_text
from fi.faults.fault import group_trials
from fi.faults.fault_list import read_fault_list
from fi.faults.fault_sites import Kind, SiteFamily, named_words, stored_families
from fi.faults.groups.grouped_families import expand_groups
from fi.faults.injection import injected
from fi.store.identity import text_hash

_NAMED = 3


class FaultMap:
    """The same faults of stored words in every step; the network is judged with them in place.

    Args:
        network: that is trained.
        path: of a fault list of one trial of permanent faults.

    Attributes:
        name: of the file.
        listed: the faults, as the list has them.

    Raises:
        UserError: the list has several trials, or a fault that is not permanent, or of no word
            that a training leaves alone but for its gradients.
    """

    def __init__(self, network: nn.Module, path: Path) -> None:
        self.network, self.name = network, path.name
        self.families = find_mappable(network)
        self.listed = tuple(read_fault_list(path, self.families))
        trials = group_trials(self.listed)
        if len(trials) > 1:
            numbers = ", ".join(str(trial[0].injection) for trial in trials[:_NAMED])
            more = ", ..." if len(trials) > _NAMED else ""
            raise UserError(
                f"--faults.map {path} has {len(trials)} trials, injections {numbers}{more}; "
                "allowed: the faults of one, with one injection number"
            )
        for fault in self.listed:
            if fault.steps is not None:
                raise UserError(f"--faults.map {path}: {fault}; allowed: permanent faults")
        (self.faults,) = expand_groups(trials, self.families)

    @property
    def key(self) -> str:
        """A hash of the list."""
        return text_hash(fault_list_text(self.listed))

    def inject(self, step: int, steps: int) -> AbstractContextManager[None]:
        """The network with all faults in place, in any step."""
        return injected(self.network, *self.faults)

    def inject_to_evaluate(self) -> AbstractContextManager[None]:
        """The same."""
        return injected(self.network, *self.faults)

    def describe(self) -> str:
        """What was trained under."""
        return f"Trained under the {len(self.listed)} faults of {self.name}, the same in each step"


def find_mappable(network: nn.Module) -> list[SiteFamily]:
    """The families of stored words that only gradients change in a training.

    A norm's running statistics are written by its own forward.
    """
    words = named_words(network)
    return [
        family
        for family in stored_families(network)
        if family.kind is Kind.NEURON or isinstance(words[family.name], nn.Parameter)
    ]
