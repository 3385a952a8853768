"""Layers drawn at random: synapses and neurons."""

from __future__ import annotations

from grammar_parts import Decisions, Layer, Op

_KINDS = (
    *("Leaky",) * 5,
    *("Synaptic",) * 2,
    *("Lapicque", "Alpha", "RLeaky", "RSynaptic", "HalfLeaky"),
)
_BETAS = (*("scalar",) * 7, *("each neuron",) * 7, "above one", "batch axis", "expanded")
_THRESHOLDS = (
    *("scalar",) * 9,
    *("each neuron",) * 7,
    *("whole number", "whole number", "zero", "negative"),
)
_POOLS = ("none", "max", "average", "max functional", "average functional", "adaptive", "overlap")


class LayerDraw:
    """Draws the layers of one network.

    Args:
        decide: makes the decisions.
        form: ``loop``, ``layerwise``, ``before``, ``declared`` or ``one_step``.
        steps: time steps of the shortest batch.
        dtype: of the network.
        equal: whether layers are equal, so that they can share words or a neuron.
        one_neuron: whether the first two layers share their neuron.
    """

    def __init__(
        self, decide: Decisions, form: str, steps: int, dtype: str, equal: bool, one_neuron: bool
    ) -> None:
        self.decide, self.form, self.steps, self.dtype = decide, form, steps, dtype
        self.equal, self.one_neuron = equal, one_neuron
        self.own = form in ("loop", "layerwise", "before")

    def draw(self, number: int, before: tuple[int, ...], width: int, last: bool) -> Layer:
        """The layer of that number, on signals of shape ``before``."""
        d, layer = self.decide, Layer(number, before)
        image = len(before) == 3
        if d.chance("dropout", 0.08, number):
            layer.ops.append(Op(f"self.drop{number}({{x}})", f"drop{number}", "nn.Dropout(0.4)"))
        more = number == 1 or d.chance("second_convolution", 0.4, number)
        if image and not last and more:
            self._convolve(layer)
        else:
            self._connect(layer, width, last)
        self._normalise(layer)
        self._add_neuron(layer, last)
        return layer

    # Synapses

    def _convolve(self, layer: Layer) -> None:
        d, number, (channels, side, _) = self.decide, layer.number, layer.shape
        stride = int(d.pick("stride", ["1", "1", "2"], number))
        padding = int(d.pick("padding", ["0", "1"], number))
        groups = 2 if channels == 2 and d.chance("groups", 0.3, number) else 1
        bias = not d.chance("no_bias", 0.3, number)
        kernel = min(side, d.number("kernel", 2, 3, number))
        out, name = 2 * d.number("maps", 1, 2, number), f"conv{number}"
        make = (
            f"nn.Conv2d({channels}, {out}, {kernel}, stride={stride}, padding={padding}, "
            f"groups={groups}, bias={bias})"
        )
        layer.ops.append(Op(f"self.{name}({{x}})", name, make))
        side = (side + 2 * padding - kernel) // stride + 1
        layer.shape = (out, side, side)
        pool = d.pick("pool", _POOLS, number)
        if pool != "none" and side >= 2:
            self._pool(layer, pool)

    def _pool(self, layer: Layer, pool: str) -> None:
        channels, side, _ = layer.shape
        kind = "Max" if pool.startswith("max") else "Avg"
        if pool.endswith("functional") and self.own:
            layer.ops.append(Op(f"F.{kind.lower()}_pool2d({{x}}, 2)"))
            side //= 2
        else:
            name = f"pool{layer.number}"
            make = {
                "adaptive": "nn.AdaptiveAvgPool2d(2)",
                "overlap": "nn.MaxPool2d(2, stride=1)",
            }.get(pool, f"nn.{kind}Pool2d(2)")
            layer.ops.append(Op(f"self.{name}({{x}})", name, make))
            side = {"adaptive": 2, "overlap": side - 1}.get(pool, side // 2)
        layer.shape = (channels, side, side)

    def _connect(self, layer: Layer, width: int, last: bool) -> None:
        d, number, inputs = self.decide, layer.number, layer.size
        if len(layer.shape) == 3:
            layer.ops.append(Op("{x}.flatten(1)", "", "nn.Flatten()"))
        if number > 1 and self.own and not self.equal and d.chance("attention", 0.06, number):
            self._attend(layer, inputs)
        name = f"fc{number}"
        bias = not d.chance("no_bias", 0.3, number)
        kind = "HalfLinear" if d.chance("subclassed_layer", 0.05, number) else "nn.Linear"
        call = f"self.{name}({{x}})"
        if self.own and kind == "nn.Linear" and d.chance("direct_read", 0.08, number):
            call = f"F.linear({{x}}, self.{name}.weight, self.{name}.bias)"
        elif self.own and inputs == width and d.chance("residual", 0.3, number):
            call = f"self.{name}({{x}}) + {{x}}"
        layer.ops.append(Op(call, name, f"{kind}({inputs}, {width}, bias={bias})"))
        layer.shape = (width,)
        if not last and d.chance("two_linears", 0.07, number):
            relu = ".relu()" if self.own else ""
            name = f"mix{number}"
            layer.ops.append(Op(f"self.{name}({{x}}{relu})", name, f"nn.Linear({width}, {width})"))

    def _attend(self, layer: Layer, width: int) -> None:
        name = f"query{layer.number}"
        products = f"self.{name}({{x}}).unsqueeze(2) * {{x}}.unsqueeze(1)"
        call = f"torch.softmax({products}, -1) @ {{x}}.unsqueeze(2)"
        layer.ops.append(Op(call, name, f"nn.Linear({width}, {width})"))
        layer.ops.append(Op("{x}.squeeze(2)"))

    def _normalise(self, layer: Layer) -> None:
        d, number, shape = self.decide, layer.number, layer.shape
        options = ["none"] * 6 + ["batch", "layer", "group"]
        if not (self.form == "before" and number == 1):  # a step's statistics, not those of all
            options.append("batch statistics")
        if self.form == "loop":
            options.append("each step")
        norm = d.pick("norm", options, number)
        if norm == "none" or (norm == "group" and len(shape) == 1):
            return
        axes, size, name = (2 if len(shape) == 3 else 1), shape[0], f"norm{number}"
        batch_norm = f"nn.BatchNorm{axes}d({size}"
        make = {
            "layer": f"nn.LayerNorm({list(shape)})",
            "group": f"nn.GroupNorm(2, {size})",
            "batch": f"{batch_norm})",
            "batch statistics": f"{batch_norm}, track_running_stats=False)",
            "each step": f"nn.ModuleList({batch_norm}) for _ in range({self.steps + 2}))",
        }[norm]
        which = "[step]" if norm == "each step" else ""
        layer.ops.append(Op(f"self.{name}{which}({{x}})", name, make))

    # Neurons

    def _add_neuron(self, layer: Layer, last: bool) -> None:
        d, number = self.decide, layer.number
        layer.kind = "Leaky" if self.one_neuron else d.pick("neuron", _KINDS, number)
        layer.neuron = f"lif{number}"
        layer.states = self._pick_states(number)
        reads = last or self.own
        layer.output = layer.states == "hidden" and reads and d.chance("output", 0.5, number)
        arguments = [*self._decays(layer), *self._threshold(layer), *self._behaviour(layer)]
        package = "" if layer.kind == "HalfLeaky" else "snn."
        layer.make = f"{package}{layer.kind}({', '.join(arguments)})"
        if self.form == "loop" and not self.one_neuron:
            layer.slow = number > 1 and d.chance("slow_layer", 0.07, number)
            layer.twice = d.chance("called_twice", 0.05, number)
        if (
            self.form == "declared"
            and layer.kind in ("Leaky", "Synaptic")
            and len(layer.shape) == 1
            and d.chance("recurrent_stage", 0.12, number)
        ):
            layer.recurrent = f"back{number}"

    def _pick_states(self, number: int) -> str:
        if self.form == "one_step":
            return "hidden"
        if self.one_neuron and number in (1, 2):
            return "explicit"
        options = ["kept", "explicit", "hidden"] if self.own else ["kept", "hidden"]
        return self.decide.pick("states", options, number)

    def _behaviour(self, layer: Layer) -> list[str]:
        d, number, arguments = self.decide, layer.number, list[str]()
        if layer.kind in ("RLeaky", "RSynaptic"):
            arguments.append(self._recurrence(layer))
        reset = d.pick("reset", ["default", "default", "subtract", "zero", "none"], number)
        if reset != "default":
            arguments.append(f'reset_mechanism="{reset}"')
        late = layer.kind in ("Leaky", "HalfLeaky", "Synaptic", "RLeaky")
        if late and d.chance("no_reset_delay", 0.12, number):
            arguments.append("reset_delay=False")
        if layer.kind == "Leaky" and d.chance("graded_spikes", 0.08, number):
            arguments.append("graded_spikes_factor=0.5")
            if d.chance("graded_learned", 0.5, number):
                arguments.append("learn_graded_spikes_factor=True")
        if len(layer.shape) == 1 and d.chance("inhibition", 0.05, number):
            arguments.append("inhibition=True")
        if layer.states == "hidden":
            arguments.append("init_hidden=True")
        if layer.output:
            arguments.append("output=True")
        return arguments

    def _recurrence(self, layer: Layer) -> str:
        single = "all_to_all=False, V=0.5"
        if self.dtype != "float32":  # snnTorch gives its recurrent layers float32 spikes
            return single
        size = layer.shape[0]
        dense = f"linear_features={size}"
        if len(layer.shape) == 3:
            dense = f"conv2d_channels={size}, kernel_size=3"
        return self.decide.pick("recurrence", [dense, single], layer.number)

    def _decays(self, layer: Layer) -> list[str]:
        d, number = self.decide, layer.number
        if layer.kind == "Lapicque":
            return [d.pick("lapicque", ["beta=0.9", "R=2.0, C=1.5, time_step=0.8"], number)]
        if layer.kind == "Alpha":
            return ["alpha=0.85", "beta=0.8"]
        each = _spaced(0.5, 0.95, layer)
        values = {
            "scalar": str(d.draw(f"beta{number}").choice([0.5, 0.7, 0.9, 0.95])),
            "each neuron": each,
            "above one": "1.3",
            "batch axis": f"{each}[None]",
            "expanded": f"torch.tensor(0.9).expand({', '.join(map(str, layer.shape))})",
        }
        arguments = [f"beta={values[d.pick('beta', _BETAS, number)]}"]
        if "Synaptic" in layer.kind:
            arguments.insert(0, "alpha=0.7")
        if d.chance("learn_beta", 0.4, number):
            arguments.append("learn_beta=True")
        return arguments

    def _threshold(self, layer: Layer) -> list[str]:
        d, number = self.decide, layer.number
        if layer.kind == "Alpha":
            return ["threshold=0.31"]
        values = {
            "scalar": "0.97",
            "each neuron": _spaced(0.6, 1.3, layer),
            "whole number": "1",
            "zero": "0.0",
            "negative": "-0.13",
        }
        picked = d.pick("threshold", _THRESHOLDS, number)
        arguments = [f"threshold={values[picked]}"]
        if picked != "whole number" and d.chance("learn_threshold", 0.4, number):
            arguments.append("learn_threshold=True")
        return arguments


def _spaced(low: float, high: float, layer: Layer) -> str:
    """Another value for each neuron, or for each map of an image."""
    each = f"torch.linspace({low}, {high}, {layer.shape[0]})"
    return f"{each}.view(-1, 1, 1)" if len(layer.shape) == 3 else each
