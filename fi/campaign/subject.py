"""The network under test and its test set, checked against each other by a trial run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from fi.base.errors import UserError, report_errors
from fi.base.user_code import UserCodeError, describe_user_error, report_user_code
from fi.engine.base import Infer
from fi.faults.fault_sites import INPUT, Kind, SiteFamily, find_site_families, observe_activity
from fi.faults.word_formats import FLOAT32, convert
from fi.network.adapting.form_choice import AskedForm, settle_form
from fi.network.batches import Batches
from fi.network.foreign import Adapter
from fi.network.neurons import make_parameters_float, reset_neurons, spiking_neurons
from fi.network.precision import computing_in
from fi.network.stages import SpikingNetwork
from fi.store.identity import weights_hash


class NetworkChanged(RuntimeError):
    """A campaign did not leave the network as it was."""


class Subject:
    """What a campaign tests: a network, its data, and where faults can occur.

    Args:
        network: a ``SpikingNetwork``, or any module with snnTorch neurons.
        data: a datamodule (``setup`` and ``test_dataloader`` suffice), or an iterable of batches
            ``(events [time, batch, ...], labels [batch])``.
        name: of the network, in paths and tables; its class name by default.
        readout, time_axis: for a network that is no ``SpikingNetwork``, see ``Adapter``.
        limit: take the first ``limit`` test samples only.
        word_format: of the stored words; another than float32 rounds the network's, in place.
        forward, batch_axis, forward_seed, decision_threshold: see ``AskedForm``.

    Attributes:
        accuracy_before: part of the test samples classified right before the words were rounded;
            ``None`` in float32.
        infer: scores of events.
        batches: the test set.
        families: the site families, in the order of the network's modules.
        inputs: the site family of the input lines, as the first stage sees them.
        steps: the number of time steps.

    Raises:
        UserError: the network cannot take the data.
    """

    def __init__(
        self,
        network: nn.Module,
        data: Any,
        name: str | None = None,
        readout: str = "auto",
        time_axis: int | str = "auto",
        limit: int | None = None,
        word_format: str = "float32",
        forward: str = "auto",
        batch_axis: int | str = "auto",
        forward_seed: int | None = None,
        decision_threshold: float | None = None,
    ) -> None:
        self.network = network.eval()
        self.name = name or type(network).__name__
        self.data_class = type(data)
        self.data_name = self.data_class.__name__
        if not spiking_neurons(network):
            raise UserError(f"{self.name} has no snnTorch neuron: there is no spike to compare")
        make_parameters_float(network)
        asked = AskedForm(readout, time_axis, forward, batch_axis, forward_seed, decision_threshold)
        self.infer: Infer = asked.make_infer(network, self.name)
        self.batches = Batches(get_test_loader(data), self.data_name, limit)
        settle_form(asked, self.infer, self.batches, self.name)
        self.word_format = word_format
        self.accuracy_before: float | None = None
        if word_format != FLOAT32.name:
            self._round_words()
        self.families: list[SiteFamily] = []
        self.inputs = SiteFamily(INPUT, (), Kind.INPUT)
        self.steps = 0
        self._run_one_sample()

    def __repr__(self) -> str:
        families = f"{len(self.families)} site families"
        return f"Subject({self.name} on {self.data_name}, {self.steps} time steps, {families})"

    def _round_words(self) -> None:
        """Convert the stored words; what they were before is in no result but this accuracy."""
        with report_errors(ValueError, prefix="--format: "):
            right = samples = 0
            with torch.no_grad():
                for events, labels in self.batches:
                    right += int((self.infer(events.to(self.dtype)).argmax(1) == labels).sum())
                    samples += len(labels)
            convert(self.network, self.word_format)
        reset_neurons(self.network)
        self.accuracy_before = right / max(1, samples)

    def _run_one_sample(self) -> None:
        """Note families and steps of the first sample."""
        events, _ = self.batches.first()
        scores: list[Tensor] = []

        def infer(sample: Tensor) -> Tensor:
            scores.append(self.infer(sample))
            return scores[-1]

        try:
            activity = observe_activity(self.network, infer, events[:, :1].to(self.dtype))
        except UserError:
            raise
        except Exception as error:  # whatever the network raises
            doing = (
                f"{self.name} cannot take the events of {self.data_name}, [time, batch, ...] = "
                f"{list(events.shape)}"
            )
            raise UserCodeError(describe_user_error(doing, error)) from error
        if scores[0].ndim != 2 or len(scores[0]) != 1:
            raise UserError(
                f"{self.name} must give scores [batch, classes]: for 1 sample it gave "
                f"{list(scores[0].shape)}; see --readout, --time-axis and --forward"
            )
        self.families = find_site_families(self.network, activity)
        self.inputs = SiteFamily(INPUT, self._find_input_shape(events[:, :1]), Kind.INPUT)
        self.steps = max(activity.steps.values(), default=0)

    def _find_input_shape(self, events: Tensor) -> tuple[int, ...]:
        """Of one frame of ``events`` as the first stage sees it."""
        if isinstance(self.network, SpikingNetwork):
            events = self.network.encode(events.to(self.dtype))
        return tuple(events.shape[2:])

    @property
    def sites(self) -> list[SiteFamily]:
        """The site families and the input lines, which have faults only where that is asked for."""
        if isinstance(self.infer, Adapter) and not self.infer.sees_time:
            return self.families
        return [*self.families, self.inputs]

    @property
    def dtype(self) -> torch.dtype:
        """The floating-point type that the network computes in."""
        parameter = next(self.network.parameters(), None)
        return torch.get_default_dtype() if parameter is None else parameter.dtype


@contextmanager
def keep_network(subject: Subject, precision: str) -> Iterator[str]:
    """The network in the precision of a run; afterwards bit for bit as it was.

    Yields:
        The hash of its words as they were.

    Raises:
        NetworkChanged: afterwards a parameter or buffer is not what it was.
    """
    before = weights_hash(subject.network)
    try:
        with computing_in(subject.network, precision):
            yield before
    finally:
        if weights_hash(subject.network) != before:
            raise NetworkChanged(f"{subject.name} is not what it was before the campaign")


def get_test_loader(data: Any) -> Iterable[Any]:
    """The test batches of a datamodule, which needs only ``setup`` and ``test_dataloader``.

    Raises:
        UserError: it is none, gives several loaders, or raises an error.
    """
    name = type(data).__name__
    if not hasattr(data, "test_dataloader"):
        if isinstance(data, Iterable):
            return data
        raise UserError(f"{name} is no datamodule: it has no test_dataloader")
    with report_user_code(name):
        if isinstance(data, pl.LightningDataModule) or hasattr(data, "prepare_data"):
            data.prepare_data()
        if hasattr(data, "setup"):
            data.setup("test")
        loader: Iterable[Any] = data.test_dataloader()
    if isinstance(loader, (list, tuple)) and any(isinstance(part, DataLoader) for part in loader):
        if len(loader) != 1:
            raise UserError(f"{name}: test_dataloader must give one loader, not {len(loader)}")
        loader = loader[0]
    if not isinstance(loader, Iterable) and not hasattr(loader, "__getitem__"):
        raise UserError(f"{name}: test_dataloader gave a {type(loader).__name__}, no batches")
    return loader
