"""The source text of a drawn network."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field

from grammar_parts import DECLARED_HEAD, HEAD, Decisions, DrawnNetwork, Layer, Op

_INIT = "    def __init__(self):\n        super().__init__({})\n        build(self)\n"


@dataclass
class Design:
    """All that was drawn.

    Attributes:
        decide: that made the decisions.
        form: ``loop`` over time, ``layerwise``, ``before`` (the first synapse before the loop),
            ``declared`` stages, or ``one_step`` a call.
        tie, one_neuron: what the first two layers have in common.
        shape: of one frame.
        first, end: lines of the constructor, before and after the layers.
        begin: first lines of the forward.
        unread: what no inference reads.
        random: whether it is not reproducible.
    """

    decide: Decisions
    form: str
    tie: str
    one_neuron: bool
    readout: str
    shape: tuple[int, ...]
    steps: int
    samples: int
    classes: int
    dtype: str
    batch_first: bool
    layers: list[Layer] = field(default_factory=list)
    first: list[str] = field(default_factory=list)
    end: list[str] = field(default_factory=list)
    begin: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    random: bool = False

    @property
    def own(self) -> bool:
        """Whether the forward is a loop of its own."""
        return self.form in ("loop", "layerwise", "before")

    @property
    def ops(self) -> list[Op]:
        return [op for layer in self.layers for op in layer.ops]

    def leave_unread(self, name: str, make: str) -> None:
        """Give the network a module that it does not call, before all others."""
        self.first.append(f"self.{name} = {make}")
        self.unread.append(name)


def write_source(design: Design) -> DrawnNetwork:
    """The network as text."""
    parts = [HEAD, *([DECLARED_HEAD] if design.form == "declared" else []), _write_build(design)]
    twin = _write_loop(design, "Twin", "loop")
    if design.form == "declared":
        parts += [_write_declared(design), twin]
    elif design.form == "one_step":
        parts += ["class Net(nn.Sequential):\n" + _INIT.format(""), twin]
    elif design.form == "loop":
        parts += [_write_loop(design, "Net", "loop"), "Twin = Net\n"]
    else:
        parts += [_write_loop(design, "Net", design.form), twin]
    parts.append(_write_batches(design))
    return DrawnNetwork(
        seed=design.decide.seed,
        source="\n\n".join(parts),
        features=frozenset(design.decide.features),
        time_axis=int(design.batch_first),
        unread=tuple(design.unread),
        rounds="membrane" in design.readout or design.readout in ("linear", "own readout"),
        random=design.random,
        without=frozenset(design.decide.without),
    )


def _indent(lines: Sequence[str], depth: int) -> str:
    return textwrap.indent("\n".join(lines), "    " * depth) + "\n"


# Constructors


def _write_build(design: Design) -> str:
    lines = [*design.first, *(_one_step_parts if design.form == "one_step" else _parts)(design)]
    last = design.layers[-1]
    if design.readout == "two heads":
        size = math.prod(design.layers[-2].shape if len(design.layers) > 1 else design.shape)
        lines.append(f"self.other = nn.Linear({size}, {design.classes + 1})")
        lines.append("self.lif_other = snn.Leaky(0.8)")
    if design.readout == "linear":
        lines.append(f"self.readout = nn.Linear({last.size}, {design.classes})")
    lines += [f"spread(self, {design.decide.seed})", *design.end]
    if design.dtype != "float32":
        lines.append(f"self.to(torch.{design.dtype})")
    return "def build(self):\n" + _indent(lines, 1)


def _parts(design: Design) -> list[str]:
    lines = []
    for layer in design.layers:
        lines += [f"self.{op.name} = {op.make}" for op in layer.ops if op.name]
        if layer.make:
            lines.append(f"self.{layer.neuron} = {layer.make}")
        if layer.recurrent:
            lines.append(f"self.{layer.recurrent} = nn.Linear({layer.size}, {layer.size})")
    return lines


def _one_step_parts(design: Design) -> list[str]:
    lines = []
    for layer in design.layers:
        for op in layer.ops:
            lines.append(f'self.add_module("{op.name or f"flat{layer.number}"}", {op.make})')
        lines.append(f'self.add_module("{layer.neuron}", {layer.make})')
    return lines


def _write_declared(design: Design) -> str:
    readout = {
        "counted": "SpikeCount(False)",
        "softmax": "SpikeCount(True)",
        "largest membrane": "MaxMembrane(False)",
        "softmax of largest membrane": "MaxMembrane(True)",
        "own readout": "LastMembrane(False)",
    }[design.readout]
    stages = []
    for layer in design.layers:
        modules = ", ".join(op.module for op in layer.ops)
        back = f", self.{layer.recurrent}" if layer.recurrent else ""
        stages.append(f"Stage([{modules}], self.{layer.neuron}{back}),")
    statistics = any("track_running_stats=False" in op.make for op in design.ops)
    by_step = design.decide.chance("step_by_step", 0.15) or statistics  # those of a step
    order = "    layer_by_layer = False\n\n" if by_step else ""
    return (
        f"class Net(SpikingNetwork):\n{order}{_INIT.format(readout)}\n"
        f"    def stages(self):\n        return [\n{_indent(stages, 3)}        ]\n"
    )


# Loops over time


def _write_loop(design: Design, name: str, form: str) -> str:
    lines = ["events = events.transpose(0, 1)"] if design.batch_first else []
    lines += design.begin
    if design.dtype != "float32":
        lines.append(f"events = events.to(torch.{design.dtype})")
    for layer in design.layers:
        if layer.states == "explicit":
            lines.append(f"{layer.state_names} = self.{layer.neuron}.reset_mem()")
        if layer.slow:
            lines.append(f"held{layer.number} = 0")
        if layer.recurrent:
            lines.append(f"last{layer.number} = None")
    lines.append("spikes, membranes = [], []")
    lines += {"two heads": ["others = []"], "linear": ["total = 0"]}.get(design.readout, [])
    write = {"loop": _loop_by_step, "layerwise": _loop_by_layer, "before": _loop_after_first}[form]
    lines += [*write(design), *_read_out(design)]
    return f"class {name}(nn.Module):\n{_INIT.format('')}\n    def forward(self, events):\n" + (
        _indent(lines, 2)
    )


def _loop_by_step(design: Design) -> list[str]:
    return _loop(design, design.layers, "events")


def _loop_by_layer(design: Design) -> list[str]:
    lines = ["signal = events"]
    for layer in design.layers[:-1]:
        lines += ["passed = []", "for step, x in enumerate(signal):"]
        lines += ["    " + line for line in [*_layer_lines(design, layer), "passed.append(x)"]]
        lines.append("signal = passed")
    return lines + _loop(design, design.layers[-1:], "signal")


def _loop_after_first(design: Design) -> list[str]:
    first = design.layers[0]
    lines = ["x = events.flatten(0, 1)", *(op.line for op in first.ops)]
    lines.append("currents = x.unflatten(0, events.shape[:2])")
    ops, first.ops = first.ops, []
    lines += _loop(design, design.layers, "currents")
    first.ops = ops
    return lines


def _loop(design: Design, layers: Sequence[Layer], over: str) -> list[str]:
    lines = []
    for layer in layers:
        n = layer.number
        if design.readout == "two heads" and layer is design.layers[-1]:
            lines.append("others.append(self.lif_other(self.other(x.flatten(1)))[0])")
        if layer.slow:
            lines += [f"held{n} = held{n} + x", "if step % 2 == 0:", "    continue"]
            lines.append(f"x, held{n} = held{n}, 0")
        lines += _layer_lines(design, layer)
    if design.readout == "linear":
        lines.append("total = total + self.readout(x)")
    last = design.layers[-1]
    explicit = last.states == "explicit"
    membrane = f"mem{last.number}" if explicit else f"self.{last.neuron}.mem"
    lines += ["spikes.append(x)", f"membranes.append({membrane})"]
    return [f"for step, x in enumerate({over}):", *("    " + line for line in lines)]


def _layer_lines(design: Design, layer: Layer) -> list[str]:
    lines, n = [op.line for op in layer.ops], layer.number
    if layer.recurrent:
        fed_back = f"torch.zeros_like(x) if last{n} is None else last{n}"
        lines.append(f"x = x + self.{layer.recurrent}({fed_back})")
    for _ in range(1 + layer.twice):
        lines += _fire(layer)
        if design.dtype != "float32":  # snnTorch's surrogates return float32
            lines.append(f"x = x.to(torch.{design.dtype})")
    if layer.recurrent:
        lines.append(f"last{n} = x")
    return lines


def _fire(layer: Layer) -> list[str]:
    neuron, states = f"self.{layer.neuron}", layer.state_names
    if layer.states != "explicit":
        return [f"x = {neuron}(x){'[0]' if layer.returns_tuple else ''}"]
    if states.startswith("spk"):
        return [f"{states} = {neuron}(x, {states})", f"x = spk{layer.number}"]
    return [f"x, {states} = {neuron}(x, {states})"]


def _read_out(design: Design) -> list[str]:
    spikes, membranes = "torch.stack(spikes)", "torch.stack(membranes)"
    # A declared readout computes its softmax in float64.
    softmax = ".double().softmax(-1)" if design.form == "declared" else ".softmax(-1)"
    scores = {
        "spikes": spikes,
        "pair": f"{spikes}, {membranes}",
        "list": f"[{spikes}, {membranes}]",
        "counted": f"{spikes}.sum(0)",
        "mean": f"{spikes}.mean(0)",
        "softmax": f"{spikes}.sum(0){softmax}",
        "last membrane": "membranes[-1]",
        "own readout": "membranes[-1]",
        "largest membrane": f"{membranes}.amax(0)",
        "softmax of largest membrane": f"{membranes}.amax(0){softmax}",
        "summed membrane": "sum(membranes)",
        "population": f"{spikes}.sum(0).unflatten(1, ({design.classes}, 2)).sum(-1)",
        "two heads": f"{spikes}, torch.stack(others)",
        "linear": "total",
        "weighted": f"torch.tensordot(0.5 ** torch.arange(len(spikes)).to(x.dtype), {spikes}, 1)",
    }[design.readout]
    return [f"return {scores}"]


# Data


def _write_batches(design: Design) -> str:
    d = design.decide
    kind = d.pick("events", ["float32"] * 7 + ["float64", "uint8"])
    rows = ", ".join(map(str, _draw_sizes(design)))
    shape = ", ".join(map(str, design.shape))
    return textwrap.dedent(
        f"""\
        def batches():
            draw, made = torch.Generator().manual_seed({d.seed}), []
            for steps, samples in [{rows}]:
                rates = torch.full((steps, samples, {shape}), 0.4)
                labels = torch.randint({design.classes}, (samples,), generator=draw)
                made.append((torch.poisson(rates, generator=draw).to(torch.{kind}), labels))
            return made


        class Data:
            def setup(self, stage=None):
                self.batches = batches()

            def test_dataloader(self):
                return self.batches
        """
    )


def _draw_sizes(design: Design) -> list[tuple[int, int]]:
    """Steps and samples of each batch."""
    d, steps, samples = design.decide, design.steps, design.samples
    if not d.chance("two_batches", 0.4):
        return [(steps, samples)]
    others = (steps, steps)
    if d.chance("lengths", 0.2):
        others = d.draw("length order").choice([(steps, steps + 2), (steps + 2, steps)])
    single = not any("norm" in op.name for op in design.ops) and d.chance("single_sample", 0.1)
    second = 1 if single else samples // 2
    return list(zip(others, (samples - second, second), strict=True))
