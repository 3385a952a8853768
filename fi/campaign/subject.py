"""The network under test and its test set, checked against each other by a trial run."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from fi.base.errors import UserError, first_line, report_errors
from fi.base.notes import note
from fi.base.user_code import UserCodeError, describe_user_error, report_user_code
from fi.campaign.training_data import make_loaders
from fi.engine.base import Infer
from fi.faults.fault_sites import INPUT, Kind, SiteFamily, find_sites, observe_activity
from fi.faults.formats.clamps import Clamps, clamp_network
from fi.faults.formats.neuron_clamps import forget_current_clamps
from fi.faults.formats.state_formats import round_states
from fi.faults.injecting.word_checks import prepare_words
from fi.faults.word_formats import FLOAT32, convert
from fi.network.adapting.form_choice import AskedForm, settle_form
from fi.network.batches import Batches
from fi.network.foreign import Adapter
from fi.network.inference import Inference
from fi.network.neurons import make_parameters_float, spiking_neurons
from fi.network.precision import computing_in
from fi.network.recorder.expression.expressions import NotRecordable
from fi.network.recorder.record import record
from fi.network.stages import SpikingNetwork
from fi.network.trial.own_state import OwnState
from fi.network.trial.trial_run import TrialRun, UnknownShape
from fi.store.identity import weights_hash


class NetworkChanged(UserError):
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
        subset: take these test samples only, see ``Batches``.
        word_format: of the stored words; another than float32 rounds the network's, in place.
        state_format: of membranes and synaptic currents; another than float32 rounds them after
            each update, without faults too.
        forward, batch_axis, forward_seed, decision_threshold: see ``AskedForm``.
        clamps: bounds of words, states, currents and spikes, golden and faulty ones.

    Attributes:
        accuracy_before: part of the test samples classified right before words and states were
            rounded or clamped; ``None`` where they are not.
        infer: scores of events.
        batches: the test set.
        trial: what a first inference showed.
        families: the site families, in the order of the network's modules.
        left_out: why other tensors of words have no faults, by name.
        circuits: the site families of neuron circuits.
        steps: the number of time steps; those of the first batch before ``measure_steps``.

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
        subset: Collection[int] | None = None,
        state_format: str = "float32",
        clamps: Clamps | None = None,
    ) -> None:
        self.network = network.eval()
        self.name = name or type(network).__name__
        self._data = data
        _take_to_cpu(network, self.name)
        self.data_class = type(data)
        self.data_name = self.data_class.__name__
        if not spiking_neurons(network):
            raise UserError(f"{self.name} has no snnTorch neuron: there is no spike to compare")
        make_parameters_float(network)
        with report_errors(ValueError, prefix=f"{self.name}: "):
            prepare_words(network)
            round_states(network, FLOAT32.name)
            forget_current_clamps(network)
        asked = AskedForm(readout, time_axis, forward, batch_axis, forward_seed, decision_threshold)
        run = asked.make_infer(network, self.name)
        self.adapter = run if isinstance(run, Adapter) else None
        self.own = OwnState(network)  # with what the adapter has put into it
        loader = get_test_loader(data)
        self.batches = Batches(loader, self.data_name, limit, self.dtype, subset=subset)
        settle_form(asked, self.adapter, self.batches, self.name)
        self.own.find_changes()
        self.own.reset()
        by_stage = isinstance(network, SpikingNetwork) and network.runs_by_stage
        by_stage = by_stage and not _has_users_modules(network)
        self.infer: Infer = run if by_stage else Inference(run, self.own)
        self.word_format, self.state_format, self.clamps = word_format, state_format, clamps
        self.accuracy_before: float | None = None
        self.trial = self._run_trial()
        if {word_format, state_format} != {FLOAT32.name} or clamps is not None:
            self._round_words()
            self.trial = self._run_trial()
        with report_errors(ValueError, prefix=f"{self.name}: "):
            sites = find_sites(network, self.trial)
        self.families, self.left_out = sites.families, sites.left_out
        self.circuits = sites.circuits
        self.steps = self.trial.steps

    def __repr__(self) -> str:
        families = f"{len(self.families)} site families"
        return f"Subject({self.name} on {self.data_name}, {self.steps} time steps, {families})"

    def _round_words(self) -> None:
        """Convert and clamp the words; what they were before is in no result but this accuracy."""
        with report_errors(ValueError, prefix="--format: "):
            right = samples = 0
            with torch.no_grad():
                for events, labels in self.batches:
                    right += int((self.infer(events).argmax(1) == labels).sum())
                    samples += len(labels)
            self.own.reset()
            if self.word_format != FLOAT32.name:
                convert(self.network, self.word_format)
        with report_errors(ValueError, prefix="--state-format: "):
            round_states(self.network, self.state_format)
        if self.clamps is not None:
            with report_errors(ValueError, prefix="--clamp: "):
                clamp_network(self.network, self.clamps)
        self.own.take_anew()
        self.accuracy_before = right / max(1, samples)

    def _run_trial(self) -> TrialRun:
        """Watch an inference of two samples, and isolate inferences that change something."""
        events, _ = self.batches.first()
        scores: list[Tensor] = []
        changed = False

        def infer(samples: Tensor) -> Tensor:
            nonlocal changed
            given = samples.clone()
            scores.append(self.infer(samples))
            changed = not torch.equal(samples, given)
            return scores[-1]

        try:
            timed = self.adapter is None or self.adapter.has_steps
            trial = observe_activity(self.network, infer, events, timed)
        except (UserError, UnknownShape) as error:
            raise UserError(f"{self.name}: {first_line(error)}") from error
        except Exception as error:  # whatever the network raises
            doing = (
                f"{self.name} cannot take the events of {self.data_name}, [time, batch, ...] = "
                f"{list(events.shape)}"
            )
            raise UserCodeError(describe_user_error(doing, error)) from error
        if scores[0].ndim != 2 or len(scores[0]) != trial.samples:
            raise UserError(
                f"{self.name} must give scores [batch, classes]: for {trial.samples} samples it "
                f"gave {list(scores[0].shape)}; see --readout, --time-axis and --forward"
            )
        if self.own.find_changes() or changed:
            self._isolate_inferences()
        for name in set(self.own.changed) & set(trial.access):
            trial.access[name].written = True
        if isinstance(self.infer, Inference):
            self.infer.clock = trial.clock
        self.own.reset()
        return trial

    def _isolate_inferences(self) -> None:
        """Give every inference events of its own, and the network as it was before the first."""
        if self.own.changed:
            kept = f"{', '.join(self.own.changed)} is kept from one inference to the next"
        else:
            kept = "its events are changed in place"
        if not isinstance(self.infer, Inference):
            self.infer = Inference(self.infer, self.own)
        self.infer.isolates = kept

    @property
    def notes(self) -> list[str]:
        """What a user has to know of the network, a line each."""
        by_reason: dict[str, list[str]] = {}
        for name, reason in self.left_out.items():
            by_reason.setdefault(reason, []).append(name)
        notes = [f"left out: {', '.join(names)}: {why}" for why, names in by_reason.items()]
        if isinstance(self.infer, Inference) and self.own.changed:
            kept = ", ".join(self.own.changed)
            notes.append(f"reset before every inference, as the network keeps it: {kept}")
        return notes

    @cached_property
    def inputs(self) -> SiteFamily:
        """The site family of the input lines, as the first stage sees them."""
        events, _ = self.batches.first()
        few = events[:, :1].clone()
        seen = self.network.encode(few) if isinstance(self.network, SpikingNetwork) else few
        return SiteFamily(INPUT, tuple(seen.shape[2:]), Kind.INPUT)

    @property
    def staged(self) -> SpikingNetwork | None:
        """The network as stages: itself, or recorded from its forward; ``None``: see below."""
        return self._recorded[0]

    @property
    def why_not_recorded(self) -> str:
        """Why no stages could be recorded; empty where they were, or need not be."""
        return self._recorded[1]

    @cached_property
    def _recorded(self) -> tuple[SpikingNetwork | None, str]:
        """The stages, or why there are none; recorded once, when they are asked for."""
        if isinstance(self.network, SpikingNetwork):
            return self.network, ""
        assert self.adapter is not None
        events, _ = self.batches.first()
        self.own.reset()
        try:
            return record(self.network, self.adapter, events), ""
        except NotRecordable as error:
            return None, str(error)
        except Exception as error:  # whatever a forward does that the recorder does not know
            return None, f"recording its forward raised {type(error).__name__}: {first_line(error)}"
        finally:
            self.own.reset()

    def load_training_batches(self) -> Batches:
        """The samples to train on, in the form of the test set; ``UserError`` without any."""
        train, _ = make_loaders(self._data)
        source = f"{self.data_name}, to train on"
        return Batches(train, source, dtype=self.dtype, layout=self.batches.layout)

    def measure_steps(self) -> None:
        """Take the steps of the longest batch; a shorter one does not reach the last of them.

        One pass over the test set: for faults that last for some steps only.
        """
        events, _ = self.batches.first()
        if self.trial.steps == len(events):
            self.steps = max(len(events) for events, _ in self.batches)

    def check_times(self, layers: Iterable[str]) -> None:
        """Raise ``UserError`` for a family in which no fault can last for some steps only."""
        for layer in layers:
            reason = self.trial.why_not_for_a_step(layer)
            if reason:
                raise UserError(
                    f"{self.name}: no fault in {layer} can last for some steps only: {reason}; "
                    f"leave it out with --faults.layers, or take --faults.steps permanent"
                )

    @property
    def sites(self) -> list[SiteFamily]:
        """All site families: of words, of circuits, and the input lines.

        Circuits and input lines have faults only where that is asked for.
        """
        if self.adapter is not None and not self.adapter.has_steps:
            return [*self.families, *self.circuits]
        return [*self.families, *self.circuits, self.inputs]

    @property
    def dtype(self) -> torch.dtype:
        """The floating-point type that the network computes in."""
        parameter = next(self.network.parameters(), None)
        return torch.get_default_dtype() if parameter is None else parameter.dtype


def _take_to_cpu(network: nn.Module, name: str) -> None:
    """Take a network that is somewhere else to where it is checked, and say so."""
    words = [*network.parameters(), *network.buffers()]
    places = {str(word.device) for word in words if word.device.type != "cpu"}
    if places:
        network.cpu()
        note(
            f"{name} was on {', '.join(sorted(places))}: it is taken to the CPU; --accelerator "
            "says where it is run"
        )


def _has_users_modules(network: nn.Module) -> bool:
    """Whether a module within the network is of a class of the user's, which may keep anything."""
    inner = (type(module).__module__.partition(".")[0] for module in network.modules())
    return any(name not in ("torch", "snntorch") for name in list(inner)[1:])


@contextmanager
def keep_network(subject: Subject, precision: str) -> Iterator[str]:
    """The network in the precision of a run; afterwards on the CPU, bit for bit as it was.

    Yields:
        The hash of its words as they were.

    Raises:
        NetworkChanged: afterwards a parameter or buffer is not what it was.
    """
    before = weights_hash(subject.network)
    try:
        with computing_in(subject.network, precision), subject.own.renewed():
            yield before
    finally:
        subject.network.cpu()  # test runs leave it where they were
        subject.batches.leave_device()
        if weights_hash(subject.network) != before:
            raise NetworkChanged(
                f"{subject.name} is not what it was before the campaign: an inference has changed "
                "its words where the trial run did not show it; do not trust the results"
            )


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
