"""How a network is called and how its batches lie: what the options say, and what a trial shows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from fi.base.errors import UserError
from fi.base.notes import note
from fi.base.user_code import UserCodeError, describe_user_error
from fi.network.adapting.forms import NoForm
from fi.network.batch_forms import Layout, find_layouts
from fi.network.batches import Batches
from fi.network.foreign import Adapter
from fi.network.stages import SpikingNetwork

#: Scores ``[batch, classes]`` of events ``[time, batch, ...]``.
Infer = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class AskedForm:
    """What a user says of a network's form, and of its batches.

    Attributes:
        readout, time_axis, forward, forward_seed, decision_threshold: see ``Adapter``.
        batch_axis: of the samples in the events that the loader gives, 1 or 0; ``auto`` tells it
            from the number of labels.
    """

    readout: str = "auto"
    time_axis: int | str = "auto"
    forward: str = "auto"
    batch_axis: int | str = "auto"
    forward_seed: int | None = None
    decision_threshold: float | None = None

    def __post_init__(self) -> None:
        if self.batch_axis not in ("auto", 0, 1):
            raise UserError(f"--batch-axis {self.batch_axis}: allowed are auto, 0 and 1")
        if self.forward_seed is not None and self.forward_seed < 0:
            raise UserError(f"--forward-seed {self.forward_seed}: allowed is 0 or more")

    def make_infer(self, network: nn.Module, name: str) -> Infer:
        """Scores of events: the network itself, or an adapter of one with its own forward.

        Raises:
            UserError: an option is for an adapter, and the network needs none.
        """
        if not isinstance(network, SpikingNetwork):
            return Adapter(
                network,
                self.readout,
                self.time_axis,
                self.forward,
                self.forward_seed,
                self.decision_threshold,
            )
        usual = AskedForm()
        for field in ("readout", "forward", "forward_seed", "decision_threshold", "time_axis"):
            value = getattr(self, field)
            if value != getattr(usual, field) and (field, value) != ("time_axis", 0):
                raise UserError(
                    f"--{field.replace('_', '-')} {value} is for networks that are no "
                    f"SpikingNetwork; {name} is one and has its own readout"
                )
        return network

    def list_layouts(self, batches: Batches, static: bool) -> list[Layout]:
        """The layouts that the batches may have, the likeliest first.

        Args:
            batches: of the test loader.
            static: whether the network may take images.

        Raises:
            UserError: the first batch has none of those that were asked for.
        """
        events, labels = batches.load_raw()
        allowed = {Layout.TIME_FIRST, Layout.BATCH_FIRST} | ({Layout.STATIC} if static else set())
        if self.time_axis == "none":
            allowed = {Layout.STATIC}
        elif self.batch_axis != "auto":
            allowed = {Layout.TIME_FIRST if self.batch_axis == 1 else Layout.BATCH_FIRST}
        layouts = [layout for layout in find_layouts(events, len(labels)) if layout in allowed]
        if not layouts:
            wanted = " or ".join(sorted(layout.value for layout in allowed))
            raise UserError(
                f"{batches.source}, batch 0: events must be {wanted} and labels integer [batch], "
                f"not {list(events.shape)} and {labels.dtype} {list(labels.shape)}"
            )
        return batches.narrow(layouts) if len(layouts) > 1 else layouts


def settle_form(asked: AskedForm, adapter: Adapter | None, batches: Batches, name: str) -> None:
    """Find out how the batches lie and how the forward is called; a note says what is unusual.

    Raises:
        UserError: the network cannot take the events.
    """
    layouts = asked.list_layouts(batches, static=adapter is not None)
    batches.layout = layouts[0]
    if adapter is None:
        _note_ambiguity(layouts, batches, asked)
        return
    events, _ = batches.load_raw()
    try:
        form = adapter.find_form(_convert(events, adapter.network), layouts)
    except NoForm as error:
        shape = f"{layouts[0].value} = {list(events.shape)}"
        doing = f"{name} cannot take the events of {batches.source}, {shape}"
        raise UserCodeError(
            describe_user_error(doing, error.__cause__ or error)
        ) from error.__cause__
    batches.layout = form.layout
    _note_ambiguity(layouts, batches, asked)
    for text in adapter.describe():
        note(f"{name}: {text}")


def _note_ambiguity(layouts: list[Layout], batches: Batches, asked: AskedForm) -> None:
    """Say which layout is taken where time and the samples have one length in every batch."""
    if Layout.TIME_FIRST in layouts and Layout.BATCH_FIRST in layouts:
        assert batches.layout is not None
        note(
            f"{batches.source}: there are as many steps as samples; the events are taken as "
            f"{batches.layout.value}: say --batch-axis 0 or 1 where that is wrong"
        )


def _convert(events: Tensor, network: nn.Module) -> Tensor:
    """Events in the floating-point type of the network."""
    parameter = next(network.parameters(), None)
    return events.float() if parameter is None else events.to(parameter.dtype)
