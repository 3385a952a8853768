"""Networks drawn at random, as source text that a person can paste: ``Net``, its ``Data`` and ``batches()``.

Every decision is drawn from the seed and the decision's own name. A feature that is left out
(``without``) therefore leaves all other decisions as they were, which makes small failing examples.

Weights lie on a grid of 1/64 and thresholds off it: sums of currents are exact in float32 whatever
their order, and no membrane rests on its threshold.
"""

from __future__ import annotations

import random
import textwrap
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

HEAD = '''\
import snntorch as snn
import torch
import torch.nn.functional as F
from torch import nn


def spread(network, seed, gain=2.5):
    """Words of layers on a grid of 1/64, so large that neurons spike."""
    draw = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, snn.SpikingNeuron):
            continue
        norm = isinstance(module, (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm))
        for name, word in module._parameters.items():
            if word is not None:
                size = gain / word[0].numel() ** 0.5 if word.ndim > 1 else 0.25
                middle = 1.25 if norm and name == "weight" else 0.0
                values = middle + size * torch.randn(word.shape, generator=draw)
                word.data.copy_(torch.round(values * 64) / 64)
        if getattr(module, "running_mean", None) is not None:
            module.running_mean.copy_(torch.randint(-8, 9, module.running_mean.shape, generator=draw) / 32)
            module.running_var.copy_(torch.randint(20, 60, module.running_var.shape, generator=draw) / 32)
'''

#: Kinds of neurons -> arguments, their states in the order of their ``reset_mem``.
NEURONS = {
    "Leaky": ("mem",),
    "Synaptic": ("syn", "mem"),
    "Lapicque": ("mem",),
    "Alpha": ("syn_exc", "syn_inh", "mem"),
    "RLeaky": ("spk", "mem"),
    "RSynaptic": ("spk", "syn", "mem"),
}


@dataclass(frozen=True)
class DrawnNetwork:
    """One network of the grammar.

    Attributes:
        seed: it was drawn from.
        source: of a module with ``Net``, ``Twin`` (a plain loop over time with the same words; it
            is ``Net`` itself where that is one) and ``batches()``.
        features: what it has beyond the simplest network; each may be left out.
        time_axis: where its forward wants time.
        unread: modules whose words no inference reads.
        rounds: whether scores hang on the order of summation: they are membranes, not counts.
        refusable: whether a network like this may be refused whole.
    """

    seed: int
    source: str
    features: frozenset[str]
    time_axis: int = 0
    unread: tuple[str, ...] = ()
    rounds: bool = False


class Decisions:
    """Decisions by name, each drawn on its own; those in ``without`` fall back to the simplest."""

    def __init__(self, seed: int, without: Collection[str] = ()) -> None:
        self.seed, self.without = seed, without
        self.features: set[str] = set()

    def _draw(self, name: str) -> random.Random:
        return random.Random(f"{self.seed}/{name}")

    def chance(self, name: str, share: float, at: object = "") -> bool:
        """Whether the network has this feature, which a ``share`` of all has."""
        has = name not in self.without and self._draw(f"{name}{at}").random() < share
        if has:
            self.features.add(name)
        return has

    def pick(self, name: str, options: Sequence[str], at: object = "") -> str:
        """One of ``options``; the first is the simplest, which is no feature."""
        picked = self._draw(f"{name}{at}").choice(options)
        if picked == options[0] or f"{name}={picked}" in self.without:
            return options[0]
        self.features.add(f"{name}={picked}")
        return picked

    def number(self, name: str, low: int, high: int, at: object = "") -> int:
        """A number; no feature."""
        return self._draw(f"{name}{at}").randint(low, high)


@dataclass
class Op:
    """One step of a synapse: ``call`` on ``{x}``; a module where it has a name."""

    call: str
    name: str = ""
    make: str = ""

    @property
    def stateless(self) -> str:
        """The expression of the module without words that a declared stage takes."""
        return f"self.{self.name}" if self.name else self.make


@dataclass
class Layer:
    """A synapse and its neuron."""

    number: int
    shape: tuple[int, ...]
    ops: list[Op] = field(default_factory=list)
    neuron: str = ""
    kind: str = "Leaky"
    make: str = ""
    states: str = "kept"  # kept, explicit, hidden
    output: bool = True
    slow: bool = False
    twice: bool = False
    recurrent: str = ""

    @property
    def returns_tuple(self) -> bool:
        return self.states != "hidden" or self.output


def draw_network(seed: int, without: Collection[str] = ()) -> DrawnNetwork:
    """The network of that seed, without some of its features."""
    return _Writer(Decisions(seed, without)).write()


class _Writer:
    """Writes the source of one network."""

    def __init__(self, decide: Decisions) -> None:
        self.decide = decide
        d = decide
        self.form = d.pick(
            "form",
            ["loop"] * 5 + ["declared"] * 4 + ["layerwise", "layerwise", "before", "one_step"],
        )
        self.own = self.form in ("loop", "layerwise", "before")
        self.steps = d.number("steps", 4, 7)
        self.samples = d.number("samples", 9, 14)
        self.classes = d.number("classes", 3, 4)
        self.unread: list[str] = []
        self.extra_init: list[str] = []
        self.first_init: list[str] = []
        self.begin: list[str] = []
        self.end_init: list[str] = []
        self.tie = (
            self.own
            and d.chance("tie", 0.15)
            and d.pick("tie_kind", ["same", "view", "functional"])
        ) or ""
        if self.form == "declared" and d.chance("tie", 0.12):
            self.tie = d.pick("tie_kind", ["same", "view"])
        self.one_neuron = (
            self.form == "loop" and not self.tie and d.chance("one_neuron_for_two_layers", 0.06)
        )
        self.image = not (self.tie or self.one_neuron) and d.chance("images", 0.3)
        equal = bool(self.tie or self.one_neuron)
        depth = 3 if equal else int(d.pick("depth", ["2", "2", "1", "3"]))
        side = d.number("side", 5, 6)
        width = d.number("width", 5, 8)
        self.shape = (
            (d.number("channels", 1, 2), side, side)
            if self.image
            else (width if equal else d.number("inputs", 5, 9),)
        )
        self.readout = self._pick_readout()
        self.population = self.readout == "population"
        self.dtype = "float32"
        if self.own:
            self.dtype = d.pick("dtype", ["float32"] * 27 + ["float64", "float16", "bfloat16"])
        self.layers: list[Layer] = []
        before = self.shape
        for number in range(1, depth + 1):
            last = number == depth
            wide = (
                self.classes * (2 if self.population else 1)
                if last
                else width
                if equal
                else d.number("width", 5, 8, number)
            )
            layer = self._draw_layer(number, before, wide, last, equal)
            self.layers.append(layer)
            before = layer.shape
        self._draw_ties()
        self._draw_extras()

    def _pick_readout(self) -> str:
        d = self.decide
        if self.form == "declared":
            return d.pick(
                "readout", ["counted", "softmax", "largest membrane", "softmax of largest membrane"]
            )
        if self.form == "one_step":
            return "counted"
        return d.pick(
            "readout",
            ["spikes", "spikes", "pair", "counted", "mean", "softmax", "last membrane", "largest membrane",
             "summed membrane", "population", "two heads", "linear", "weighted"],
        )  # fmt: skip

    # Layers

    def _draw_layer(
        self, number: int, before: tuple[int, ...], width: int, last: bool, equal: bool
    ) -> Layer:
        d, ops = self.decide, []
        image = len(before) == 3
        convolve = (
            image and not last and (number == 1 or d.chance("second_convolution", 0.4, number))
        )
        shape = before
        if d.chance("dropout", 0.08, number):
            ops.append(Op(f"self.drop{number}({{x}})", f"drop{number}", "nn.Dropout(0.4)"))
        if convolve:
            shape = self._convolve(number, shape, ops)
        else:
            if image:
                flat = shape[0] * shape[1] * shape[2]
                ops.append(Op("{x}.flatten(1)", "", "nn.Flatten()"))
                shape = (flat,)
            if number > 1 and self.own and not equal and d.chance("attention", 0.06, number):
                self._attend(number, shape[0], ops)
            self._connect(number, shape[0], width, ops)
            shape = (width,)
            if not last and d.chance("two_linears", 0.07, number):
                name = f"mix{number}"
                ops.append(
                    Op(
                        f"self.{name}({{x}}.relu())" if self.own else f"self.{name}({{x}})",
                        name,
                        f"nn.Linear({width}, {width})",
                    )
                )
        self._normalise(number, shape, ops)
        return self._draw_neuron(Layer(number, shape, ops), last, equal)

    def _convolve(self, number: int, shape: tuple[int, ...], ops: list[Op]) -> tuple[int, ...]:
        d = self.decide
        channels, side = shape[0], shape[1]
        stride = int(d.pick("stride", ["1", "1", "2"], number))
        padding = int(d.pick("padding", ["0", "1"], number))
        groups = 2 if channels == 2 and d.chance("groups", 0.3, number) else 1
        bias = not d.chance("no_bias", 0.3, number)
        kernel = min(side, d.number("kernel", 2, 3, number))
        out = 2 * d.number("maps", 1, 2, number)
        name = f"conv{number}"
        ops.append(
            Op(f"self.{name}({{x}})", name,
               f"nn.Conv2d({channels}, {out}, {kernel}, stride={stride}, padding={padding}, groups={groups}, bias={bias})")
        )  # fmt: skip
        side = (side + 2 * padding - kernel) // stride + 1
        pool = d.pick(
            "pool", ["none", "max", "average", "max functional", "average functional"], number
        )
        if pool != "none" and side >= 2:
            kind = "Max" if pool.startswith("max") else "Avg"
            if pool.endswith("functional") and self.own:
                ops.append(Op(f"F.{kind.lower()}_pool2d({{x}}, 2)"))
            else:
                ops.append(Op(f"self.pool{number}({{x}})", f"pool{number}", f"nn.{kind}Pool2d(2)"))
            side //= 2
        return (out, side, side)

    def _connect(self, number: int, inputs: int, width: int, ops: list[Op]) -> None:
        d, name = self.decide, f"fc{number}"
        bias = not d.chance("no_bias", 0.3, number)
        make = f"nn.Linear({inputs}, {width}, bias={bias})"
        if self.own and d.chance("direct_read", 0.08, number):
            call = f"F.linear({{x}}, self.{name}.weight, self.{name}.bias)"
        else:
            call = f"self.{name}({{x}})"
        ops.append(Op(call, name, make))

    def _attend(self, number: int, width: int, ops: list[Op]) -> None:
        name = f"query{number}"
        ops.append(
            Op(f"torch.softmax(self.{name}({{x}}).unsqueeze(2) * {{x}}.unsqueeze(1), -1) @ {{x}}.unsqueeze(2)",
               name, f"nn.Linear({width}, {width})")
        )  # fmt: skip
        ops.append(Op("{x}.squeeze(2)"))

    def _normalise(self, number: int, shape: tuple[int, ...], ops: list[Op]) -> None:
        d = self.decide
        options = ["none"] * 6 + ["batch", "layer"]
        if not (self.form == "before" and number == 1):  # a step's statistics, not those of all
            options.append("batch statistics")
        if self.form == "loop":
            options.append("each step")
        norm = d.pick("norm", options, number)
        if norm == "none":
            return
        axes, size, name = (2 if len(shape) == 3 else 1), shape[0], f"norm{number}"
        if norm == "layer":
            ops.append(Op(f"self.{name}({{x}})", name, f"nn.LayerNorm({list(shape)})"))
        elif norm == "each step":
            make = f"nn.ModuleList(nn.BatchNorm{axes}d({size}) for _ in range({self.steps + 2}))"
            ops.append(Op(f"self.{name}[step]({{x}})", name, make))
        else:
            more = ", track_running_stats=False" if norm == "batch statistics" else ""
            ops.append(Op(f"self.{name}({{x}})", name, f"nn.BatchNorm{axes}d({size}{more})"))

    # Neurons

    def _draw_neuron(self, layer: Layer, last: bool, equal: bool) -> Layer:
        d, number = self.decide, layer.number
        kinds = ["Leaky"] * 5 + ["Synaptic", "Synaptic", "Lapicque", "Alpha", "RLeaky", "RSynaptic"]
        layer.kind = "Leaky" if equal and self.one_neuron else d.pick("neuron", kinds, number)
        layer.neuron = f"lif{number}"
        image = len(layer.shape) == 3
        arguments = self._decays(layer) + self._threshold(layer)
        if layer.kind in ("RLeaky", "RSynaptic"):
            if self.dtype != "float32":  # snnTorch gives its recurrent layers float32 spikes
                arguments.append("all_to_all=False, V=0.5")
            elif image:
                arguments.append(
                    d.pick(
                        "recurrence",
                        [
                            f"conv2d_channels={layer.shape[0]}, kernel_size=3",
                            "all_to_all=False, V=0.5",
                        ],
                        number,
                    )
                )
            else:
                arguments.append(
                    d.pick(
                        "recurrence",
                        [f"linear_features={layer.shape[0]}", "all_to_all=False, V=0.5"],
                        number,
                    )
                )
        reset = d.pick("reset", ["default", "default", "subtract", "zero", "none"], number)
        if reset != "default":
            arguments.append(f'reset_mechanism="{reset}"')
        if layer.kind in ("Leaky", "Synaptic", "RLeaky") and d.chance(
            "no_reset_delay", 0.12, number
        ):
            arguments.append("reset_delay=False")
        if layer.kind == "Leaky" and d.chance("graded_spikes", 0.08, number):
            learned = (
                ", learn_graded_spikes_factor=True"
                if d.chance("graded_learned", 0.5, number)
                else ""
            )
            arguments.append(f"graded_spikes_factor=0.5{learned}")
        if not image and d.chance("inhibition", 0.05, number):
            arguments.append("inhibition=True")
        layer.states = (
            "hidden"
            if self.form == "one_step"
            else d.pick("states", ["kept", "explicit", "hidden"], number)
            if self.own
            else d.pick("states", ["kept", "hidden"], number)
        )
        if self.one_neuron and number in (1, 2):
            layer.states = "explicit"
        layer.output = (
            layer.states == "hidden" and (last or self.own) and d.chance("output", 0.5, number)
        )
        if layer.states == "hidden":
            arguments.append("init_hidden=True")
        if layer.output:
            arguments.append("output=True")
        layer.make = f"snn.{layer.kind}({', '.join(arguments)})"
        if self.form == "loop" and number > 1 and d.chance("slow_layer", 0.07, number):
            layer.slow = True
        if self.form == "loop" and not self.one_neuron and d.chance("called_twice", 0.05, number):
            layer.twice = True
        if (
            self.form == "declared"
            and layer.kind in ("Leaky", "Synaptic")
            and not image
            and d.chance("recurrent_stage", 0.12, number)
        ):
            layer.recurrent = f"back{number}"
        return layer

    def _decays(self, layer: Layer) -> list[str]:
        d, number = self.decide, layer.number
        if layer.kind == "Lapicque":
            return [d.pick("lapicque", ["beta=0.9", "R=2.0, C=1.5, time_step=0.8"], number)]
        size = layer.shape[0]
        each = f"torch.linspace(0.5, 0.95, {size})" + (
            ".view(-1, 1, 1)" if len(layer.shape) == 3 else ""
        )
        options = {
            "scalar": str(d._draw(f"beta{number}").choice([0.5, 0.7, 0.9, 0.95])),
            "each neuron": each,
        }
        options["above one"] = "1.3"
        options["batch axis"] = f"{each}[None]"
        options["expanded"] = f"torch.tensor(0.9).expand({', '.join(map(str, layer.shape))})"
        beta = d.pick(
            "beta",
            ["scalar"] * 7 + ["each neuron"] * 7 + ["above one", "batch axis", "expanded"],
            number,
        )
        learn = ", learn_beta=True" if d.chance("learn_beta", 0.4, number) else ""
        if layer.kind == "Alpha":
            return ["alpha=0.85", "beta=0.8"]
        alpha = "alpha=0.7, " if "Synaptic" in layer.kind else ""
        return [f"{alpha}beta={options[beta]}{learn}"]

    def _threshold(self, layer: Layer) -> list[str]:
        d, number, size = self.decide, layer.number, layer.shape[0]
        if layer.kind == "Alpha":
            return ["threshold=0.31"]
        each = f"torch.linspace(0.6, 1.3, {size})" + (
            ".view(-1, 1, 1)" if len(layer.shape) == 3 else ""
        )
        options = {
            "scalar": "0.97",
            "each neuron": each,
            "whole number": "1",
            "zero": "0.0",
            "negative": "-0.13",
        }
        picked = d.pick(
            "threshold",
            ["scalar"] * 9
            + ["each neuron"] * 7
            + ["whole number", "whole number", "zero", "negative"],
            number,
        )
        learn = (
            ", learn_threshold=True"
            if picked != "whole number" and d.chance("learn_threshold", 0.4, number)
            else ""
        )
        return [f"threshold={options[picked]}{learn}"]

    # What binds layers, and what is around them

    def _draw_ties(self) -> None:
        if self.tie:
            first, second = (
                next(op for op in layer.ops if op.name.startswith("fc"))
                for layer in self.layers[:2]
            )
            if self.tie == "same":
                self.end_init.append("self.fc2.weight = self.fc1.weight")
            elif self.tie == "view":
                self.end_init.append("self.fc2.weight = nn.Parameter(self.fc1.weight.data.t())")
            else:
                second.call = "F.linear({x}, self.fc1.weight.t(), self.fc2.bias)"
                self.unread.append("fc2.weight")
        same = [layer for layer in self.layers if layer.kind in ("Leaky", "RLeaky")]
        if len(same) >= 2 and not self.one_neuron and self.decide.chance("shared_beta", 0.08):
            self.first_init.append("beta = torch.tensor(0.9)")
            for layer in same[:2]:
                layer.make = _replace_argument(layer.make, "beta", "beta")
        if self.one_neuron:
            first, second = self.layers[:2]
            second.neuron, second.make = first.neuron, ""

    def _draw_extras(self) -> None:
        d = self.decide
        if self.form != "one_step":
            if d.chance("spare_neuron", 0.06):
                self.first_init.append("self.spare = snn.Leaky(0.9)")
                self.unread.append("spare")
            if d.chance("unread_layer", 0.08):
                self.first_init.append("self.aux = nn.Linear(5, 3)")
                self.unread.append("aux")
            if self.own and d.chance("unread_loss", 0.05):
                self.first_init.append(
                    f"self.loss = nn.CrossEntropyLoss(weight=torch.ones({self.classes}))"
                )
                self.unread.append("loss")
        synapses = [
            op
            for layer in self.layers
            for op in layer.ops
            if op.name.startswith(("fc", "conv")) and op.call == f"self.{op.name}({{x}})"
        ]
        if synapses and d.chance("hardened", 0.3):
            self._harden(
                d._draw("hardened op").choice(synapses),
                d._draw("hardened layer").choice(self.layers),
            )
        if self.own:
            if d.chance("events_in_place", 0.06):
                self.begin.append(
                    d.pick(
                        "in_place",
                        ["events *= 0.5", "events.clamp_(max=1)", "events.mul_(2).sub_(0.25)"],
                    )
                )
            if d.chance("weights_clamped", 0.04) and synapses and not self.tie:
                self.begin.append(f"self.{synapses[0].name}.weight.data.clamp_(-8, 8)")
            if d.chance("own_state", 0.05):
                self.begin.append(
                    "self.trace = torch.zeros(()) if self.trace is None else self.trace * 0"
                )
                self.first_init.append("self.trace = None")

    def _harden(self, op: Op, layer: Layer) -> None:
        d, name = self.decide, op.name
        options = [
            "clamp hook",
            "pre-forward hook",
            "replaced forward",
            "pruned",
            "weight norm",
            "parametrized",
            "spike hook",
            "replaced neuron",
        ]
        kind = d.pick("hardening", options)
        d.features.add(f"hardening={kind}")
        spikes = "(o[0].clamp(0, 1), *o[1:])" if layer.returns_tuple else "o.clamp(0, 1)"
        lines = {
            "clamp hook": [f"self.{name}.register_forward_hook(lambda m, i, o: o.clamp(-2, 2))"],
            "pre-forward hook": [f"self.{name}.register_forward_pre_hook(lambda m, i: (i[0].clamp(0, 1),))"],
            "replaced forward": [f"plain = self.{name}.forward", f"self.{name}.forward = lambda x: plain(x).clamp(-2, 2)"],
            "pruned": ["from torch.nn.utils import prune", f'prune.l1_unstructured(self.{name}, "weight", 0.3)'],
            "weight norm": [f"torch.nn.utils.weight_norm(self.{name})"],
            "parametrized": [
                "class Limited(nn.Module):",
                "    def forward(self, weight):",
                "        return weight.clamp(-3, 3)",
                "",
                f'torch.nn.utils.parametrize.register_parametrization(self.{name}, "weight", Limited())',
            ],
            "spike hook": [f"self.{layer.neuron}.register_forward_hook(lambda m, i, o: {spikes})"],
            "replaced neuron": [
                f"fire = self.{layer.neuron}.forward",
                f"self.{layer.neuron}.forward = lambda *a: (lambda o: {spikes})(fire(*a))",
            ],
        }  # fmt: skip
        if self.tie and kind in ("pruned", "weight norm", "parametrized"):
            return
        self.end_init += lines[kind]

    # Source

    def write(self) -> DrawnNetwork:
        d = self.decide
        batch_first = self.own and d.chance("batch_first", 0.15)
        body = [HEAD]
        if self.form == "declared":
            body.append(
                "from fi.network import SpikingNetwork, Stage\nfrom fi.readout import MaxMembrane, SpikeCount\n"
            )
        body.append(self._write_build())
        if self.form == "declared":
            body += [self._write_declared(), self._write_loop("Twin", batch_first)]
        elif self.form == "one_step":
            body += [self._write_one_step(), self._write_loop("Twin", batch_first)]
        else:
            body.append(self._write_loop("Net", batch_first))
            if self.form == "loop":
                body.append("Twin = Net\n")
            else:
                self.form = "loop"
                body.append(self._write_loop("Twin", batch_first))
        body.append(self._write_batches())
        rounds = "membrane" in self.readout or self.readout in ("linear",)
        return DrawnNetwork(
            d.seed,
            "\n\n".join(body),
            frozenset(d.features),
            int(batch_first),
            tuple(self.unread),
            rounds,
        )

    def _write_build(self) -> str:
        lines = [*self.first_init]
        made = []
        if self.form != "one_step":
            for layer in self.layers:
                for op in layer.ops:
                    if op.name and op.make:
                        lines.append(f"self.{op.name} = {op.make}")
                if layer.make:
                    lines.append(f"self.{layer.neuron} = {layer.make}")
                if layer.recurrent:
                    lines.append(
                        f"self.{layer.recurrent} = nn.Linear({layer.shape[0]}, {layer.shape[0]})"
                    )
        else:
            for layer in self.layers:
                for op in layer.ops:
                    name = op.name or f"flat{layer.number}"
                    made.append(f'self.add_module("{name}", {op.make})')
                made.append(f'self.add_module("{layer.neuron}", {layer.make})')
            lines += made
        if self.readout == "two heads":
            size = self.layers[-2].shape if len(self.layers) > 1 else self.shape
            lines += [
                f"self.other = nn.Linear({_product(size)}, {self.classes + 1})",
                "self.lif_other = snn.Leaky(0.8)",
            ]
        if self.readout == "linear":
            lines.append(
                f"self.readout = nn.Linear({_product(self.layers[-1].shape)}, {self.classes})"
            )
        lines.append(f"spread(self, {self.decide.seed})")
        lines += self.end_init
        if self.dtype != "float32":
            lines.append(f"self.to(torch.{self.dtype})")
        return "def build(self):\n" + textwrap.indent("\n".join(lines), "    ") + "\n"

    def _write_declared(self) -> str:
        readout = {"counted": "SpikeCount(False)", "softmax": "SpikeCount(True)", "largest membrane": "MaxMembrane(False)",
                   "softmax of largest membrane": "MaxMembrane(True)"}[self.readout]  # fmt: skip
        stages = []
        for layer in self.layers:
            modules = ", ".join(op.stateless for op in layer.ops)
            more = f", self.{layer.recurrent}" if layer.recurrent else ""
            stages.append(f"            Stage([{modules}], self.{layer.neuron}{more}),")
        by_step = self.decide.chance("step_by_step", 0.15) or any(
            "track_running_stats=False" in op.make for layer in self.layers for op in layer.ops
        )
        step_wise = "    layer_by_layer = False\n\n" if by_step else ""
        return (
            f"class Net(SpikingNetwork):\n{step_wise}"
            f"    def __init__(self):\n        super().__init__({readout})\n        build(self)\n\n"
            "    def stages(self):\n        return [\n" + "\n".join(stages) + "\n        ]\n"
        )

    def _write_one_step(self) -> str:
        return "class Net(nn.Sequential):\n    def __init__(self):\n        super().__init__()\n        build(self)\n"

    def _write_loop(self, name: str, batch_first: bool) -> str:
        lines = [*self.begin]
        if batch_first:
            lines.insert(0, "events = events.transpose(0, 1)")
        if self.dtype != "float32":
            lines.append(f"events = events.to(torch.{self.dtype})")
        explicit = [layer for layer in self.layers if layer.states == "explicit"]
        for layer in explicit:
            lines.append(f"{_states(layer)} = self.{layer.neuron}.reset_mem()")
        for layer in self.layers:
            if layer.slow:
                lines.append(f"held{layer.number} = 0")
        if self.readout == "two heads":
            lines.append("others = []")
        body = {"layerwise": self._layerwise, "before": self._before}.get(
            self.form, self._stepwise
        )()
        lines += ["spikes, membranes = [], []", *body, *self._write_readout()]
        head = f"class {name}(nn.Module):\n    def __init__(self):\n        super().__init__()\n        build(self)\n\n"
        return (
            head
            + "    def forward(self, events):\n"
            + textwrap.indent("\n".join(lines), "        ")
            + "\n"
        )

    def _stepwise(self, layers: Sequence[Layer] | None = None, over: str = "events") -> list[str]:
        lines = [f"for step, x in enumerate({over}):"]
        if self.form == "one_step":
            lines[0] = "for step, x in enumerate(events):"
        for layer in self.layers if layers is None else layers:
            if layer.recurrent:
                lines.insert(0, f"last{layer.number} = None")
            if self.readout == "two heads" and layer is self.layers[-1]:
                lines.append("    others.append(self.lif_other(self.other(x.flatten(1)))[0])")
            if layer.slow:
                n = layer.number
                lines += [
                    f"    held{n} = held{n} + x",
                    "    if step % 2 == 0:",
                    "        continue",
                    f"    x, held{n} = held{n}, 0",
                ]
            lines += ["    " + line for line in self._layer_lines(layer)]
        if self.readout == "linear":
            lines = ["total = 0", *lines, "    total = total + self.readout(x)"]
        return [*lines, "    spikes.append(x)", f"    membranes.append({self._membrane()})"]

    def _layerwise(self) -> list[str]:
        lines = ["signal = events"]
        for layer in self.layers[:-1]:
            lines += ["passed = []", "for step, x in enumerate(signal):"]
            lines += ["    " + line for line in self._layer_lines(layer)]
            lines += ["    passed.append(x)", "signal = passed"]
        return lines + self._stepwise(self.layers[-1:], "signal")

    def _before(self) -> list[str]:
        first = self.layers[0]
        lines = [
            "x = events.flatten(0, 1)",
            *(_assign(op) for op in first.ops),
            "currents = x.unflatten(0, events.shape[:2])",
        ]
        kept, first.ops = first.ops, []
        lines += self._stepwise(None, "currents")
        first.ops = kept
        return lines

    def _layer_lines(self, layer: Layer) -> list[str]:
        lines = [_assign(op) for op in layer.ops]
        if layer.recurrent:
            n = layer.number
            lines.append(
                f"x = x + self.{layer.recurrent}(torch.zeros_like(x) if last{n} is None else last{n})"
            )
        lines += self._fire(layer)
        if layer.twice:
            lines += self._fire(layer)
        if layer.recurrent:
            lines.append(f"last{layer.number} = x")
        return lines

    def _fire(self, layer: Layer) -> list[str]:
        lines = self._call_neuron(layer)
        if self.dtype != "float32":  # snnTorch's surrogates return float32
            lines.append(f"x = x.to(torch.{self.dtype})")
        return lines

    def _call_neuron(self, layer: Layer) -> list[str]:
        neuron = f"self.{layer.neuron}"
        if layer.states == "explicit":
            states = _states(layer)
            named = states.split(", ")
            if named[0] == f"spk{layer.number}":
                return [f"{states} = {neuron}(x, {states})", f"x = spk{layer.number}"]
            return [f"x, {states} = {neuron}(x, {states})"]
        hidden_only = layer.states == "hidden" and not layer.output
        return [f"x = {neuron}(x)" if hidden_only else f"x = {neuron}(x)[0]"]

    def _membrane(self) -> str:
        last = self.layers[-1]
        return f"mem{last.number}" if last.states == "explicit" else f"self.{last.neuron}.mem"

    def _write_readout(self) -> list[str]:
        spikes = "torch.stack(spikes)"
        # A declared readout computes its softmax in float64.
        softmax = ".double().softmax(-1)" if self.form == "declared" else ".softmax(-1)"
        return {
            "spikes": [f"return {spikes}"],
            "pair": [f"return {spikes}, torch.stack(membranes)"],
            "counted": [f"return {spikes}.sum(0)"],
            "mean": [f"return {spikes}.mean(0)"],
            "softmax": [f"return {spikes}.sum(0){softmax}"],
            "last membrane": ["return membranes[-1]"],
            "largest membrane": ["return torch.stack(membranes).amax(0)"],
            "softmax of largest membrane": [f"return torch.stack(membranes).amax(0){softmax}"],
            "summed membrane": ["return sum(membranes)"],
            "population": [f"return {spikes}.sum(0).unflatten(1, ({self.classes}, 2)).sum(-1)"],
            "two heads": [f"return {spikes}, torch.stack(others)"],
            "linear": ["return total"],
            "weighted": [f"return torch.tensordot(0.5 ** torch.arange(len(spikes)).to(x.dtype), {spikes}, 1)"],
        }[self.readout]  # fmt: skip

    def _write_batches(self) -> str:
        d = self.decide
        lengths = [self.steps]
        if d.chance("two_batches", 0.6):
            lengths = [self.steps, self.steps]
        if len(lengths) == 2 and d.chance("lengths", 0.12):
            lengths = d._draw("length order").choice(
                [[self.steps, self.steps + 2], [self.steps + 2, self.steps]]
            )
        kind = d.pick("events", ["float32"] * 7 + ["float64", "uint8"])
        if self.form == "declared" or d.features & {"weights_clamped", "events_in_place"}:
            kind = kind if kind == "float32" else "float64"
        sizes = [self.samples] if len(lengths) == 1 else [self.samples // 2 + 1, self.samples // 2]
        rows = ", ".join(f"({n}, {size})" for n, size in zip(lengths, sizes, strict=True))
        return textwrap.dedent(
            f"""\
            def batches():
                draw, made = torch.Generator().manual_seed({d.seed}), []
                for steps, samples in [{rows}]:
                    rates = torch.full((steps, samples, {", ".join(map(str, self.shape))}), 0.4)
                    labels = torch.randint({self.classes}, (samples,), generator=draw)
                    made.append((torch.poisson(rates, generator=draw).to(torch.{kind}), labels))
                return made


            class Data:
                def setup(self, stage=None):
                    self.batches = batches()

                def test_dataloader(self):
                    return self.batches
            """
        )


def _assign(op: Op) -> str:
    return f"x = {op.call.format(x='x')}"


def _states(layer: Layer) -> str:
    return ", ".join(f"{name}{layer.number}" for name in NEURONS[layer.kind])


def _product(shape: Sequence[int]) -> int:
    size = 1
    for length in shape:
        size *= length
    return size


def _replace_argument(make: str, name: str, value: str) -> str:
    """A neuron's expression with another value of one argument, up to the next one at its level."""
    start = make.index(f"{name}=") + len(name) + 1
    depth, end = 0, start
    while depth or make[end] not in ",)":
        depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(make[end], 0)
        end += 1
    return make[:start] + value + make[end:]
