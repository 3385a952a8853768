"""Networks as people write them: called as they want to be, read as they are meant."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import snntorch as snn
import torch
from small_networks import CLASSES, STEPS, PlainLinear, SmallLinear, event_batches, small
from snntorch.functional.acc import _population_code
from torch import Tensor, nn

from fi.base.errors import UserError
from fi.campaign.subject import Subject
from fi.network.batch_forms import Layout, find_layouts
from fi.network.batches import Batches
from fi.network.foreign import Adapter

EVENTS = torch.cat([events for events, _ in event_batches((12,))], dim=1)  # 6 steps, 24 samples
LABELS = torch.cat([labels for _, labels in event_batches((12,))])


class Layers(nn.Module):
    """The layers of ``SmallLinear``; ``run`` steps them, the subclasses differ in their forward."""

    def __init__(self, hidden_state: bool = False) -> None:
        super().__init__()
        weights = small(SmallLinear).state_dict()
        hidden = {"init_hidden": hidden_state, "output": hidden_state}
        self.fc1, self.fc2 = nn.Linear(12, 8), nn.Linear(8, CLASSES)
        self.lif1 = snn.Leaky(beta=torch.full((8,), 0.9), threshold=torch.ones(8), **hidden)
        self.lif2 = snn.Leaky(torch.full((CLASSES,), 0.8), torch.ones(CLASSES), **hidden)
        self.load_state_dict(weights, strict=False)

    def run(self, events: Tensor) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Hidden spikes, output spikes and output membranes of ``events`` ``[time, batch, 12]``."""
        membrane1, membrane2 = self.lif1.reset_mem(), self.lif2.reset_mem()
        hidden, spikes, membranes = [], [], []
        for frame in events:
            first, membrane1 = self.lif1(self.fc1(frame), membrane1)
            second, membrane2 = self.lif2(self.fc2(first), membrane2)
            hidden.append(first)
            spikes.append(second)
            membranes.append(membrane2)
        return hidden, spikes, membranes


def wanted(statistic: str = "count") -> Tensor:
    """The scores by a loop of this test's own, in float64 of membranes that float32 has."""
    network = Layers()
    with torch.no_grad():
        _, spikes, membranes = network.run(EVENTS)
    scores = torch.zeros(EVENTS.shape[1], CLASSES)
    for step in range(STEPS):
        for sample in range(EVENTS.shape[1]):
            for number in range(CLASSES):
                spike, membrane = spikes[step][sample, number], membranes[step][sample, number]
                held = scores[sample, number]
                if statistic == "last":
                    scores[sample, number] = membrane
                elif statistic == "largest":
                    scores[sample, number] = membrane if step == 0 else max(held, membrane)
                else:
                    scores[sample, number] = held + spike
    return scores / STEPS if statistic == "mean" else scores


class Returning(Layers):
    """A forward of all steps that returns what ``form`` makes of the three recordings."""

    def __init__(self, form: Callable[..., Any], axis: int = 0) -> None:
        super().__init__()
        self.form, self.axis = form, axis

    def forward(self, events: Tensor) -> Any:
        return self.form(*self.run(events.movedim(self.axis, 0)))


class OneStep(Layers):
    """A forward of one step whose neurons keep their state."""

    def __init__(self, form: Callable[..., Any]) -> None:
        super().__init__(hidden_state=True)
        self.form = form

    def forward(self, frame: Tensor) -> Any:
        first, _ = self.lif1(self.fc1(frame))
        return self.form(first, *self.lif2(self.fc2(first)))


class OwnState(Layers):
    """A forward of one step that keeps membranes in attributes, with a method that resets them."""

    def init_states(self) -> None:
        self.membrane1, self.membrane2 = self.lif1.reset_mem(), self.lif2.reset_mem()

    def forward(self, frame: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        first, self.membrane1 = self.lif1(self.fc1(frame), self.membrane1)
        second, self.membrane2 = self.lif2(self.fc2(first), self.membrane2)
        return [first, second], [self.membrane1, self.membrane2]


stack = torch.stack
FORMS: dict[str, Callable[[], nn.Module]] = {
    "spikes": lambda: Returning(lambda h, s, m: stack(s)),
    "spikes, batch first": lambda: Returning(lambda h, s, m: stack(s).movedim(1, 0)),
    "pair": lambda: Returning(lambda h, s, m: (stack(s), stack(m))),
    "pair, batch first": lambda: Returning(lambda h, s, m: (stack(s, 1), stack(m, 1))),
    "membranes first": lambda: Returning(lambda h, s, m: (stack(m), stack(s))),
    "lists over time": lambda: Returning(lambda h, s, m: (s, m)),
    "one list over time": lambda: Returning(lambda h, s, m: s),
    "list over layers": lambda: Returning(lambda h, s, m: [stack(h), stack(s)]),
    "lists over layers": lambda: Returning(
        lambda h, s, m: ([stack(h), stack(s)], [stack(h), stack(m)])
    ),
    "scores": lambda: Returning(lambda h, s, m: stack(s).sum(0)),
    "scores and more": lambda: Returning(lambda h, s, m: (stack(s).sum(0), stack(h))),
    "events batch first": lambda: Returning(lambda h, s, m: stack(s), axis=1),
    "events time last": lambda: Returning(lambda h, s, m: stack(s), axis=-1),
    "step, pair": lambda: OneStep(lambda h, s, m: (s, m)),
    "step, spikes": lambda: OneStep(lambda h, s, m: s),
    "step, lists over layers": lambda: OneStep(lambda h, s, m: ([h, s], [h, m])),
    "step, own state": OwnState,
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_counts(form: str) -> None:
    adapter = Adapter(FORMS[form]())
    with torch.no_grad():
        first, second = adapter(EVENTS), adapter(EVENTS)
    assert torch.equal(first, wanted())
    assert torch.equal(second, first)  # no state is left of the first
    assert wanted().unique().numel() > 3


@pytest.mark.parametrize("form", ["pair", "step, pair", "lists over time", "step, own state"])
@pytest.mark.parametrize(
    ("readout", "statistic"),
    [
        ("count", "count"),
        ("mean", "mean"),
        ("membrane-last", "last"),
        ("membrane-max", "largest"),
    ],
)
def test_readouts_are_what_a_loop_computes(form: str, readout: str, statistic: str) -> None:
    with torch.no_grad():
        found = Adapter(FORMS[form](), readout)(EVENTS)
    assert torch.allclose(found, wanted(statistic), rtol=1e-6, atol=0)


def test_a_population_code_is_snntorchs() -> None:
    spikes = torch.bernoulli(
        torch.full((5, 7, 12), 0.4), generator=torch.Generator().manual_seed(1)
    )

    class Fixed(Layers):
        def forward(self, events: Tensor) -> Tensor:
            self.run(events)
            return spikes[:, : events.shape[1]]

    with torch.no_grad():
        found = Adapter(Fixed(), "population:4", time_axis=0)(torch.ones(5, 7, 12))
    assert torch.equal(found, _population_code(spikes, 4, 12))
    with pytest.raises(UserError, match="--readout population:5: 12 outputs are no multiple of 5"):
        Adapter(Fixed(), "population:5", time_axis=0)(torch.ones(5, 7, 12))


@pytest.mark.parametrize("squeeze", [False, True])
def test_one_output_and_a_threshold_are_two_classes(squeeze: bool) -> None:
    def one(hidden: Any, spikes: list[Tensor], membranes: Any) -> Tensor:
        recorded = stack(spikes)[..., :1]
        return recorded.squeeze(-1) if squeeze else recorded

    with torch.no_grad():
        scores = Adapter(Returning(one), decision_threshold=1.5)(EVENTS)
    counts = wanted()[:, 0]
    assert scores.argmax(1).tolist() == [int(count > 1.5) for count in counts.tolist()]
    assert scores.amax(1).tolist() == [abs(count - 1.5) for count in counts.tolist()]
    assert 0 < scores.argmax(1).sum() < len(counts)
    with pytest.raises(UserError, match=r"--decision-threshold 1\.5 is for one output, not 4"):
        Adapter(FORMS["spikes"](), decision_threshold=1.5)(EVENTS)


class Images(Layers):
    """Six steps of the same image, as snnTorch's tutorial 5."""

    def forward(self, images: Tensor) -> Tensor:
        return stack(self.run(images.flatten(1).expand(STEPS, -1, -1))[1])


def test_images_and_batch_first_loaders_are_found_out() -> None:
    images = torch.rand(24, 1, 3, 4, generator=torch.Generator().manual_seed(3)) * 2
    subject = Subject(Images(), [(images, LABELS)])
    (events, _), *_ = subject.batches
    with torch.no_grad():
        expected = stack(Layers().run(images.flatten(1).expand(STEPS, -1, -1))[1]).sum(0)
        assert torch.equal(subject.infer(events), expected)
    assert expected.sum() > 0
    assert subject.steps == STEPS
    assert "input" not in [family.name for family in subject.sites]
    for form in ("spikes", "events batch first", "step, pair"):
        subject = Subject(FORMS[form](), [(EVENTS.movedim(0, 1), LABELS)])
        (events, _), *_ = subject.batches
        with torch.no_grad():
            assert torch.equal(subject.infer(events), wanted())
        assert subject.batches.layout is Layout.BATCH_FIRST


def test_a_smaller_batch_tells_samples_from_steps(capsys: pytest.CaptureFixture[str]) -> None:
    square = EVENTS[:, :STEPS].movedim(0, 1)
    parts = [(square, LABELS[:STEPS]), (square[:4], LABELS[:4])]
    subject = Subject(FORMS["step, pair"](), parts)
    assert subject.batches.layout is Layout.BATCH_FIRST
    assert "as many steps as samples" not in capsys.readouterr().err
    subject = Subject(FORMS["step, pair"](), parts[:1])
    assert subject.batches.layout is Layout.TIME_FIRST
    assert "as many steps as samples" in capsys.readouterr().err
    subject = Subject(FORMS["step, pair"](), parts[:1], batch_axis=0)
    (events, _), *_ = subject.batches
    with torch.no_grad():
        assert torch.equal(subject.infer(events), wanted()[:STEPS])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"forward": "loop"}, "--forward loop: allowed are auto, sequence, step"),
        ({"time_axis": "last"}, "--time-axis last: allowed are auto, none and a number"),
        ({"forward": "step", "time_axis": 1}, "--time-axis 1: not with --forward step"),
        ({"batch_axis": 2}, "--batch-axis 2: allowed are auto, 0 and 1"),
        ({"forward_seed": -1}, "--forward-seed -1: allowed is 0 or more"),
        ({"time_axis": "none"}, "events must be [batch, ...]"),
        ({"readout": "population:0"}, "--readout population:0: allowed are"),
    ],
)
def test_forms_that_are_none(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as error:
        Subject(PlainLinear(), event_batches((12,)), **options)
    assert message in str(error.value)


def test_a_spiking_network_has_its_own_form() -> None:
    options = [{"forward": "step"}, {"forward_seed": 1}, {"decision_threshold": 0.5}]
    for option in options:
        with pytest.raises(UserError, match="is for networks that are no SpikingNetwork"):
            Subject(small(SmallLinear), event_batches((12,)), **option)
    assert Subject(small(SmallLinear), event_batches((12,)), batch_axis=1).steps == STEPS


class Draws(OwnState):
    """Has a ``reset`` that draws new weights, which is none of those that a campaign calls."""

    def reset(self) -> None:
        self.fc1.reset_parameters()


def test_a_reset_that_draws_new_weights_is_not_called(capsys: pytest.CaptureFixture[str]) -> None:
    network = Draws()
    before = network.fc1.weight.clone()
    subject = Subject(network, [(EVENTS, LABELS)])
    with torch.no_grad():
        assert torch.equal(subject.infer(EVENTS), wanted())
    assert torch.equal(network.fc1.weight, before)
    said = capsys.readouterr().err
    assert "reset() changes words of the network: it is not called" in said
    assert "init_states() is called before each batch" in said


class RateCoded(Layers):
    """Draws its input spikes itself."""

    def forward(self, events: Tensor) -> Tensor:
        drawn = torch.rand(events.shape) < events.clamp(0, 1) / 2
        return stack(self.run(drawn.float())[1])


def test_a_seed_makes_a_random_forward_the_same_each_time() -> None:
    adapter, free = Adapter(RateCoded(), forward_seed=5), Adapter(RateCoded())
    torch.manual_seed(1)
    state = torch.get_rng_state()
    with torch.no_grad():
        first, second = adapter(EVENTS), adapter(EVENTS)
        assert torch.equal(torch.get_rng_state(), state)
        assert not torch.equal(free(EVENTS), free(EVENTS))
        torch.manual_seed(5)
        expected = RateCoded()
        torch.manual_seed(5)
        assert torch.equal(first, expected(EVENTS).sum(0))
    assert torch.equal(first, second)


def test_layouts_by_the_number_of_labels() -> None:
    names = [[layout.name for layout in find_layouts(torch.zeros(shape), 8)] for shape in SHAPES]
    assert names == [["TIME_FIRST"], ["BATCH_FIRST", "STATIC"], ["STATIC"], []]


SHAPES = ((5, 8, 12), (8, 5, 12), (8, 12), (5, 12))


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ({"events": EVENTS, "x": EVENTS, "y": LABELS}, "a dict must have one of events, event"),
        ((EVENTS, torch.rand(24)), "labels must be class numbers"),
        ((EVENTS, torch.ones(24, 4)), "labels must be class numbers"),
        ((EVENTS,), r"a batch must be \(events, labels\), not a tuple of 1"),
        ((EVENTS * 1j, LABELS), "events are complex"),
        ((EVENTS[:, :0], LABELS[:0]), "events must be"),
    ],
)
def test_batches_that_may_mean_anything_are_refused(batch: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Batches([batch], "my data").first()


def test_batches_in_the_usual_forms_are_taken() -> None:
    forms = [
        (EVENTS, nn.functional.one_hot(LABELS)),
        (EVENTS, LABELS[:, None].float()),
        {"frames": EVENTS, "target": LABELS.to(torch.uint8), "id": 3},
        [EVENTS.to_sparse(), LABELS.tolist(), torch.full((24,), STEPS)],
        (EVENTS.numpy(), LABELS.numpy()),
    ]
    for form in forms:
        events, labels = Batches([form], "my data").first()
        assert torch.equal(events, EVENTS)
        assert torch.equal(labels, LABELS)
        assert labels.dtype is torch.int64
