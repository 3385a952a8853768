"""Networks drawn at random, as source text to be pasted: ``Net``, its ``Data`` and ``batches()``.

Every decision is drawn from the seed and the decision's own name. A feature that is left out
(``without``) therefore leaves other decisions as they were, which makes small failing examples.

Weights lie on a grid of 1/64 and thresholds off it: sums of currents are exact in float32 whatever
their order, and no membrane rests on its threshold.
"""

from __future__ import annotations

from collections.abc import Collection

from grammar_layers import LayerDraw
from grammar_parts import Decisions, DrawnNetwork, Layer, Op, replace_argument
from grammar_source import Design, write_source

FORMS = ("loop",) * 5 + ("declared",) * 4 + ("layerwise",) * 2 + ("before", "one_step")
DTYPES = ("float32",) * 27 + ("float64", "float16", "bfloat16")
DECLARED_READOUTS = (
    "counted", "softmax", "largest membrane", "softmax of largest membrane", "own readout",
)  # fmt: skip
READOUTS = (
    "spikes", "spikes", "pair", "list", "counted", "mean", "softmax", "last membrane",
    "largest membrane", "summed membrane", "population", "two heads", "linear", "weighted",
)  # fmt: skip
HARDENINGS = (
    "clamp hook", "pre-forward hook", "replaced forward", "pruned", "weight norm", "parametrized",
    "spike hook", "replaced neuron",
)  # fmt: skip
IN_PLACE = ("events *= 0.5", "events.clamp_(max=1)", "events.mul_(2).sub_(0.25)")


def draw_network(seed: int, without: Collection[str] = ()) -> DrawnNetwork:
    """The network of that seed, without some of its features."""
    design = _draw_design(Decisions(seed, without))
    _tie_layers(design)
    _add_surroundings(design)
    return write_source(design)


def _draw_design(d: Decisions) -> Design:
    """The layers, and what is read of them."""
    form = d.pick("form", FORMS)
    own = form in ("loop", "layerwise", "before")
    tie = ""
    if form != "one_step" and d.chance("tie", 0.12):
        tie = d.pick("tie_kind", ["same", "view", "functional"] if own else ["same", "view"])
    one_neuron = form == "loop" and not tie and d.chance("one_neuron_for_two_layers", 0.06)
    equal = bool(tie or one_neuron)
    image = not equal and d.chance("images", 0.3)
    depth = 3 if equal else int(d.pick("depth", ["2", "2", "1", "3"]))
    side, width = d.number("side", 5, 6), d.number("width", 5, 8)
    lines = width if equal else d.number("inputs", 5, 9)
    readout, classes = "counted", d.number("classes", 3, 4)
    if form != "one_step":
        readout = d.pick("readout", READOUTS if own else DECLARED_READOUTS)
    design = Design(
        decide=d,
        form=form,
        tie=tie,
        one_neuron=one_neuron,
        readout=readout,
        shape=(d.number("channels", 1, 2), side, side) if image else (lines,),
        steps=classes if d.chance("classes_as_steps", 0.05) else d.number("steps", 5, 7),
        samples=d.number("samples", 9, 14),
        classes=classes,
        dtype=d.pick("dtype", DTYPES) if own else "float32",
        batch_first=own and d.chance("batch_first", 0.15),
    )
    layers = LayerDraw(d, form, design.steps, design.dtype, equal, one_neuron)
    before = design.shape
    for number in range(1, depth + 1):
        last = number == depth
        outputs = design.classes * (2 if readout == "population" else 1)
        hidden = width if equal else d.number("width", 5, 8, number)
        layer = layers.draw(number, before, outputs if last else hidden, last)
        design.layers.append(layer)
        before = layer.shape
    return design


def _tie_layers(design: Design) -> None:
    """One weight, one decay or one neuron for two layers."""
    if design.tie == "same":
        design.end.append("self.fc2.weight = self.fc1.weight")
    elif design.tie == "view":
        design.end.append("self.fc2.weight = nn.Parameter(self.fc1.weight.data.t())")
    elif design.tie == "functional":
        second = next(op for op in design.layers[1].ops if op.name == "fc2")
        second.call = "F.linear({x}, self.fc1.weight.t(), self.fc2.bias)"
        design.unread.append("fc2.weight")
    same = [layer for layer in design.layers if layer.kind in ("Leaky", "RLeaky", "HalfLeaky")]
    if design.one_neuron:
        first, second_layer = design.layers[:2]
        second_layer.neuron, second_layer.make = first.neuron, ""
    elif len(same) >= 2 and design.decide.chance("shared_beta", 0.08):
        design.first.append("beta = torch.tensor(0.9)")
        for layer in same[:2]:
            layer.make = replace_argument(layer.make, "beta", "beta")


def _add_surroundings(design: Design) -> None:
    """What is around the layers: words that nobody reads, hooks, changes in place, randomness."""
    d, own = design.decide, design.own
    if design.form != "one_step":
        if d.chance("spare_neuron", 0.06):
            design.leave_unread("spare", "snn.Leaky(0.9)")
        if d.chance("unread_layer", 0.08):
            design.leave_unread("aux", "nn.Linear(5, 3)")
    if own and d.chance("unread_loss", 0.05):
        make = f"nn.CrossEntropyLoss(weight=torch.ones({design.classes}))"
        design.leave_unread("loss", make)
    plain = [op for op in design.ops if op.name and op.call == f"self.{op.name}({{x}})"]
    synapses = [op for op in plain if op.name.startswith(("fc", "conv"))]
    if synapses and d.chance("hardened", 0.3):
        op = d.draw("hardened op").choice(synapses)
        _harden(design, op, d.draw("hardened layer").choice(design.layers))
    if own:
        _change_in_place(design, synapses)


def _change_in_place(design: Design, synapses: list[Op]) -> None:
    d = design.decide
    if d.chance("events_in_place", 0.06):
        design.begin.append(d.pick("in_place", IN_PLACE))
    if synapses and not design.tie and d.chance("weights_clamped", 0.04):
        design.begin.append(f"self.{synapses[0].name}.weight.data.clamp_(-8, 8)")
    if d.chance("own_state", 0.05):
        design.first.append("self.trace = None")
        design.begin.append(
            "self.trace = torch.zeros(()) if self.trace is None else self.trace * 0"
        )
    if d.chance("adaptive", 0.04):
        design.first.append('self.register_buffer("shift", torch.zeros(()))')
        design.begin.append("events = events - self.shift")
        design.begin.append("self.shift += 0.25")
    if d.chance("dropout_left_on", 0.02):
        design.begin.append("events = F.dropout(events, 0.5)")
        design.random = True


def _harden(design: Design, op: Op, layer: Layer) -> None:
    """Protect one synapse or the output of one neuron, in one of the usual ways."""
    d, synapse, neuron = design.decide, f"self.{op.name}", f"self.{layer.neuron}"
    kind = d.pick("hardening", HARDENINGS)
    if design.tie and kind in ("pruned", "weight norm", "parametrized"):
        kind = HARDENINGS[0]
    d.features.discard(f"hardening={kind}")
    d.features.add(f"hardening={kind}")
    spikes = "(o[0].clamp(0, 1), *o[1:])" if layer.returns_tuple else "o.clamp(0, 1)"
    design.end += {
        "clamp hook": [f"{synapse}.register_forward_hook(lambda m, i, o: o.clamp(-2, 2))"],
        "pre-forward hook": [
            f"{synapse}.register_forward_pre_hook(lambda m, i: (i[0].clamp(0, 1),))"
        ],
        "replaced forward": [
            f"plain = {synapse}.forward",
            f"{synapse}.forward = lambda x: plain(x).clamp(-2, 2)",
        ],
        "pruned": [f'prune.l1_unstructured({synapse}, "weight", 0.3)'],
        "weight norm": [f"weight_norm({synapse})"],
        "parametrized": [f'parametrize.register_parametrization({synapse}, "weight", Limited())'],
        "spike hook": [f"{neuron}.register_forward_hook(lambda m, i, o: {spikes})"],
        "replaced neuron": [
            f"fire = {neuron}.forward",
            f"{neuron}.forward = lambda *a: (lambda o: {spikes})(fire(*a))",
        ],
    }[kind]
