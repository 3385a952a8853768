"""How the forward of a network is called: found out by trials of two samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from fi.base.errors import UserError
from fi.network.adapting.outputs import Output, find_output
from fi.network.adapting.seeding import keep_generators
from fi.network.batch_forms import Layout
from fi.network.neurons import output_spikes, reset_neurons, spiking_neurons, watch_neurons
from fi.network.trial.own_state import OwnState

#: What ``--forward`` takes.
FORWARDS = ("auto", "sequence", "step")
#: Neurons that take all steps in one call.
_WHOLE_SEQUENCE = frozenset({"LinearLeaky", "StateLeaky", "AssociativeLeaky"})


@dataclass(frozen=True)
class Form:
    """How a forward is called and what it returns.

    Attributes:
        layout: of the events that the loader gives.
        step: whether it makes one step, of ``[batch, ...]``, and is called for each.
        time_axis: where it wants time, of all steps; 0 is ``[time, batch, ...]``. ``None`` for
            images ``[batch, ...]``, of which it makes the steps itself.
        output: where in what it returns the output layer is.
    """

    layout: Layout = Layout.TIME_FIRST
    step: bool = False
    time_axis: int | None = 0
    output: Output = field(default_factory=Output)

    def __str__(self) -> str:
        if self.step:
            return "one step [batch, ...] a call"
        if self.time_axis is None:
            return "images [batch, ...], of which it makes the steps"
        named = {0: "[time, batch, ...]", 1: "[batch, time, ...]", -1: "[batch, ..., time]"}
        return named.get(self.time_axis, f"time at axis {self.time_axis}")

    def call(self, network: nn.Module, events: Tensor) -> Any:
        """What the forward returns for ``events`` ``[time, batch, ...]``, by step in a list."""
        if self.step:
            return [network(frame) for frame in events]
        if self.time_axis is None:
            return network(events[0])
        return network(events.movedim(0, self.time_axis))


@dataclass(frozen=True)
class Asked:
    """What a user says of the form; the rest is found out.

    Attributes:
        forward: one of ``FORWARDS``.
        time_axis: a number, ``none``, or ``auto``.

    Raises:
        UserError: they are none of these, or contradict each other.
    """

    forward: str = "auto"
    time_axis: int | str = "auto"

    def __post_init__(self) -> None:
        if self.forward not in FORWARDS:
            raise UserError(f"--forward {self.forward}: allowed are {', '.join(FORWARDS)}")
        if isinstance(self.time_axis, str) and self.time_axis not in ("auto", "none"):
            raise UserError(f"--time-axis {self.time_axis}: allowed are auto, none and a number")
        if self.forward == "step" and self.time_axis != "auto":
            raise UserError(
                f"--time-axis {self.time_axis}: not with --forward step, which gets no time"
            )

    def list_forms(self, layouts: Sequence[Layout]) -> list[Form]:
        """The forms that are left, for events of these layouts, the likeliest first."""
        return [
            Form(layout, step, axis)
            for layout, step, axis in _list_usual(layouts)
            if self.forward in ("auto", "step" if step else "sequence")
            and (self.time_axis == "auto" or (not step and self._matches(axis)))
        ] or self._list_asked(layouts)

    def _matches(self, axis: int | None) -> bool:
        return axis is None if self.time_axis == "none" else axis == self.time_axis

    def _list_asked(self, layouts: Sequence[Layout]) -> list[Form]:
        """Forms with the very axis that was asked for."""
        assert isinstance(self.time_axis, int)
        return [Form(layout, False, self.time_axis) for layout in layouts]


def _list_usual(layouts: Sequence[Layout]) -> Iterator[tuple[Layout, bool, int | None]]:
    for layout in layouts:
        if layout is Layout.TIME_FIRST:
            yield from ((layout, False, 0), (layout, True, 0), (layout, False, 1))
            yield layout, False, -1
        elif layout is Layout.BATCH_FIRST:
            yield layout, False, 1
            if Layout.STATIC in layouts:  # before the rarer forms of sequences
                yield Layout.STATIC, False, None
            yield from ((layout, True, 0), (layout, False, 0), (layout, False, -1))
        elif Layout.BATCH_FIRST not in layouts:
            yield layout, False, None


class NoForm(UserError):
    """The forward takes the events in no form; its cause is what it raised for the first one."""


def find_form(
    network: nn.Module,
    events: Tensor,
    layouts: Sequence[Layout],
    asked: Asked,
    before: Callable[[int], object],
) -> Form:
    """The first form in which a trial of ``events`` goes as it should.

    That is: every call of every neuron has the samples first, and what is returned has them, too.
    Where no form does, the first one that raises no error is taken.

    Args:
        network: any module with snnTorch neurons; they are reset afterwards.
        events: of the loader's first batch, as it gives them.
        layouts: that these may have.
        asked: what the user says.
        before: brings the network to rest for so many samples.

    Raises:
        NoForm: the forward raises an error in all of them.
        UserError: an axis that the events have not, or what is returned can be no scores.
    """
    raised: list[BaseException] = []
    ran: list[Form] = []
    for form in asked.list_forms(layouts):
        _check_axis(form, events)
        try:
            trial = _try_form(network, form, events, before)
        except (UserError, KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:  # whatever the network raises
            raised.append(error)
            continue
        fits = trial.fits and (
            _is_sure(form) or _follows_time(network, form, events, before, trial)
        )
        if fits or (trial.runs and asked.time_axis == "none"):
            return trial.form
        ran.append(trial.form)
    if ran:
        return ran[0]
    raise NoForm("the forward takes the events in no form") from raised[0]


def _check_axis(form: Form, events: Tensor) -> None:
    axes = events.ndim
    if form.time_axis is not None and not -axes <= form.time_axis < axes:
        raise UserError(
            f"--time-axis {form.time_axis}: the events have {axes} axes, allowed are {-axes} to "
            f"{axes - 1}"
        )


@dataclass(frozen=True)
class _FormTrial:
    """A trial: the form with its output, the most calls of a neuron, and whether it ``fits``."""

    form: Form
    calls: int
    fits: bool

    @property
    def runs(self) -> bool:
        """Whether a neuron was called at all."""
        return self.calls > 0


def _is_sure(form: Form) -> bool:
    """Whether the axis of time is beyond doubt: it may be the channels of an image otherwise."""
    return form.layout is not Layout.BATCH_FIRST or form.step


def _follows_time(
    network: nn.Module,
    form: Form,
    events: Tensor,
    before: Callable[[int], object],
    trial: _FormTrial,
) -> bool:
    """Whether neurons are called less often where the events have one step less."""
    if events.shape[1] < 2:
        return trial.calls == 1
    try:
        shorter = _try_form(network, form, events[:, :-1], before)
    except (UserError, KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException:  # an image without a channel
        return False
    return shorter.calls < trial.calls


def _try_form(
    network: nn.Module, form: Form, events: Tensor, before: Callable[[int], object]
) -> _FormTrial:
    arranged = form.layout.arrange(events)
    samples = 3 if len(arranged) == 2 else 2
    few = arranged[:, torch.arange(samples, device=events.device) % arranged.shape[1]].clone()
    returned, shapes = _call_once(network, form, few, before)
    calls = max(map(len, shapes.values()), default=0)
    steps = calls if form.time_axis is None else len(few)
    output = find_output(returned[-1] if form.step else returned, samples, steps, form.step)
    if output.single and output.batch_axis == 0 and not form.step:
        fewer = few[:-1] if form.time_axis is not None and steps > 1 else few
        shorter, _ = _call_once(network, form, fewer, before)
        follows = output.tensors(shorter)[output.spikes].shape == (samples, steps - 1)
        output = replace(output, single=follows, batch_axis=output.batch_axis if follows else 1)
    first = all(_has_samples_first(network, name, shapes[name], samples) for name in shapes)
    enough = calls > 1 if form.time_axis is None else calls >= steps or _has_whole(network)
    returns = _returns_samples(output, returned, samples, form.step)
    return _FormTrial(replace(form, output=output), calls, first and enough and returns)


def _call_once(
    network: nn.Module, form: Form, events: Tensor, before: Callable[[int], object]
) -> tuple[Any, dict[str, list[tuple[int, ...]]]]:
    """What the forward returns, and the shapes of neurons' outputs; the network stays as it was."""
    own = OwnState(network)
    with torch.no_grad(), keep_generators(), _watch_calls(network) as shapes:
        reset_neurons(network)
        before(events.shape[1])
        try:
            return form.call(network, events.clone()), shapes
        finally:
            own.find_changes()
            own.reset()


def _has_whole(network: nn.Module) -> bool:
    """Whether a neuron takes all steps in one call."""
    return any(
        type(neuron).__name__ in _WHOLE_SEQUENCE for neuron in spiking_neurons(network).values()
    )


def _has_samples_first(
    network: nn.Module, name: str, shapes: Sequence[tuple[int, ...]], samples: int
) -> bool:
    """Whether what a neuron gave has the samples first at each call, after time where it has it."""
    kind = type(network.get_submodule(name)).__name__
    axis = int(kind in _WHOLE_SEQUENCE)
    return all(len(shape) > axis and shape[axis] == samples for shape in shapes)


def _returns_samples(output: Output, returned: Any, samples: int, looped: bool) -> bool:
    """Whether the chosen tensor of what was returned has so many samples where they should be."""
    chosen = output.tensors(returned[-1] if looped else returned)[output.spikes]
    timed = chosen.ndim == 3 or (chosen.ndim == 2 and output.single)
    axis = output.batch_axis if timed and not looped else 0
    return chosen.ndim > axis and chosen.shape[axis] == samples


@contextmanager
def _watch_calls(network: nn.Module) -> Iterator[dict[str, list[tuple[int, ...]]]]:
    """Neuron -> the shape of its output at each call within."""
    shapes: dict[str, list[tuple[int, ...]]] = {}

    def note(name: str, neuron: nn.Module, output: Any) -> None:
        shapes.setdefault(name, []).append(tuple(output_spikes(output).shape))

    with watch_neurons(network, note):
        yield shapes
