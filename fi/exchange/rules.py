"""How each framework takes a step of time: its own operations, in its own order.

Equations are in docs/background.md; ``x`` is the current, ``v`` the membrane, ``i`` the synaptic
current, ``z`` the spike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import snntorch as snn
import torch
from snntorch import SpikingNeuron
from torch import Tensor

from fi.base.errors import UserError
from fi.exchange.nir_neurons import RESETS, NirNeuron

#: What float32 values that stand for each other's quotient may be away from it.
_ROUNDING = 2.0**-22


class SnntorchNeuron(NirNeuron):
    """snnTorch's ``Leaky`` and ``Synaptic``: the reset comes a step later, a spike is ``v > th``.

    ``v = beta v + g x + leak - z th`` with ``beta = 1 - dt / tau`` clamped to 0..1, ``g = r dt /
    tau``, ``leak = v_leak dt / tau`` and ``z`` the spike of the step before; an ``IF`` has ``beta =
    1`` and ``g = r dt``.
    """

    rule = "snntorch"

    def find_meant(self, words: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """snnTorch writes ``r = tau / dt`` in float32, and takes currents in as they are."""
        meant = {name: value.double() for name, value in words.items()}
        for weight, tau in (("r", "tau"), ("r", "tau_mem"), ("w_in", "tau_syn")):
            if tau in meant:
                steps = meant[tau] / self.dt
                near = (meant[weight] / steps - 1).abs() < _ROUNDING
                meant[weight] = torch.where(near, steps, meant[weight])
        return meant

    def constants(self, dtype: torch.dtype) -> dict[str, Tensor]:
        found = {}
        if self.leaks:
            ratio = self.ratio(self.tau_name)
            found["beta"], found["leak"] = 1 - ratio, ratio * self.exact("v_leak")
            found["gain"] = self.exact("r") * ratio
        else:
            found["gain"] = self.exact("r") * self.dt
        if self.synaptic:
            ratio = self.ratio("tau_syn")
            found["alpha"], found["weight"] = 1 - ratio, self.exact("w_in") * ratio
        return {name: value.to(dtype) for name, value in found.items()}

    def initial_membrane(self) -> Tensor:
        return torch.zeros(())

    def step(self, current: Tensor, derived: Mapping[str, Tensor]) -> Tensor:
        if self.synaptic:
            weighted = derived["weight"] * current
            self.syn = derived["alpha"].clamp(0, 1) * self.syn + weighted
            current = self.syn
        current = derived["gain"] * current
        if not self.fires:
            self.mem = derived["beta"].clamp(0, 1) * self.mem + current + derived["leak"]
            return self.mem
        fired = (self.mem - self.v_threshold > 0).to(current.dtype)
        if self.reset_to == "value" and not self.synaptic:
            self.mem = (1 - fired) * self.mem + fired * self.v_reset
        self.mem = self._integrate(current, derived)
        if self.reset_to == "subtract":
            self.mem = self.mem - fired * self.v_threshold
        elif self.synaptic:
            self.mem = self.mem - (self.mem - self.v_reset) * fired
        return (self.mem - self.v_threshold > 0).to(current.dtype)

    def _integrate(self, current: Tensor, derived: Mapping[str, Tensor]) -> Tensor:
        if not self.leaks:
            return self.mem + current
        return derived["beta"].clamp(0, 1) * self.mem + (current + derived["leak"])

    def as_snntorch(self) -> SpikingNeuron | None:
        """A neuron of snnTorch that does the same, for the kernels; ``None`` where there is none.

        There is one where a current goes in as it is, and a reset to a value is one to 0.
        """
        dtype = self.v_threshold.dtype if self.fires else torch.float32
        derived = self.constants(dtype)
        plain = all(bool((derived.get(n, torch.ones(())) == 1).all()) for n in ("gain", "weight"))
        no_leak = bool((derived.get("leak", torch.zeros(())) == 0).all())
        to_zero = self.fires and (self.reset_to == "subtract" or not bool(self.v_reset.any()))
        if not (plain and no_leak and to_zero):
            return None
        beta = derived.get("beta", torch.ones((), dtype=dtype))
        reset = "subtract" if self.reset_to == "subtract" else "zero"
        given = {"beta": beta, "threshold": self.v_threshold, "reset_mechanism": reset}
        if self.synaptic:
            made = snn.Synaptic(alpha=derived["alpha"], **given)
        else:
            made = snn.Leaky(**given)
        SpikingNeuron.instances.remove(made)
        return made


class SpikingJellyNeuron(NirNeuron):
    """SpikingJelly's ``IFNode``, ``LIFNode`` and ``CUBALIFNode``: a spike is ``h >= th``, at once.

    ``h = v + (x - (v - v_leak)) / tau`` where every ``r`` is 1 (its ``decay_input``), else ``h = v
    - (v - v_leak) / tau + g x``, ``tau`` in steps and ``g = r dt / tau``; ``v = z v_reset + (1 - z)
    h``, or ``h - z th``. A current first goes through ``i = i (1 - dt / tau_syn) + w x``, and then
    ``h = v (1 - dt / tau_mem) + g i``.
    """

    rule = "spikingjelly"

    def __init__(
        self,
        kind: str,
        words: Mapping[str, Tensor],
        dt: float,
        reset: str,
        variant: frozenset[str] = frozenset(),
    ) -> None:
        super().__init__(kind, words, dt, reset, variant)
        self.decays_input = kind in ("LIF", "LI") and bool((self.r == 1).all())

    def constants(self, dtype: torch.dtype) -> dict[str, Tensor]:
        if self.kind == "IF":
            return {"gain": (self.exact("r") * self.dt).to(dtype)}
        ratio = self.ratio(self.tau_name)
        found = {"gain": self.exact("r") if self.decays_input else self.exact("r") * ratio}
        if self.synaptic:
            synaptic = self.ratio("tau_syn")
            found |= {"decay": 1 - ratio, "leak": ratio * self.exact("v_leak")}
            found |= {"alpha": 1 - synaptic, "weight": self.exact("w_in") * synaptic}
        else:
            found["tau"] = self.exact("tau") / self.dt
        return {name: value.to(dtype) for name, value in found.items()}

    def initial_membrane(self) -> Tensor:
        if not self.fires:
            return torch.as_tensor(self.v_leak)
        return torch.as_tensor(self.v_reset if self.reset_to == "value" else torch.zeros(()))

    def step(self, current: Tensor, derived: Mapping[str, Tensor]) -> Tensor:
        charged = self._charge(current, derived)
        if not self.fires:
            self.mem = charged
            return charged
        fired = (charged >= self.v_threshold).to(current.dtype)
        if self.reset_to == "value":
            self.mem = fired * self.v_reset + (1 - fired) * charged
        else:
            self.mem = charged - fired * self.v_threshold
        return fired

    def _charge(self, current: Tensor, derived: Mapping[str, Tensor]) -> Tensor:
        if self.synaptic:
            self.syn = self.syn * derived["alpha"] + derived["weight"] * current
            return self.mem * derived["decay"] + (derived["gain"] * self.syn + derived["leak"])
        current = derived["gain"] * current
        if self.kind == "IF":
            return self.mem + current
        if self.decays_input:
            return self.mem + (current - (self.mem - self.v_leak)) / derived["tau"]
        return self.mem - (self.mem - self.v_leak) / derived["tau"] + current


class SinabsNeuron(NirNeuron):
    """sinabs' ``IAF``, ``LIF`` and ``ExpLeak``: exponential decay, several spikes a step.

    ``v = alpha v + (1 - alpha) (r x + v_leak)`` with ``alpha = exp(-dt / tau)``; ``z = trunc(v /
    th)`` where ``v > 0``; ``v = v - z th``. Variants: ``single-spike`` is ``z = (v >= th)``,
    ``no-norm`` leaves the factor ``1 - alpha`` of the current away, which ``ExpLeak`` always does.
    A synapse is ``i = alpha_syn (i + w_in x)``.
    """

    rule = "sinabs"

    def constants(self, dtype: torch.dtype) -> dict[str, Tensor]:
        found = {}
        if self.leaks:
            found["alpha"] = self._decay(self.tau_name, dtype)
        if self.synaptic:
            found["alpha_syn"] = self._decay("tau_syn", dtype)
        return found

    def _decay(self, tau: str, dtype: torch.dtype) -> Tensor:
        steps = (self.exact(tau) / self.dt).to(dtype)
        return torch.exp(-1.0 / steps)

    def initial_membrane(self) -> Tensor:
        return torch.zeros(())

    def step(self, current: Tensor, derived: Mapping[str, Tensor]) -> Tensor:
        if self.synaptic:
            self.syn = derived["alpha_syn"] * (self.syn + self.w_in * current)
            current = self.syn
        current = self.r * current
        if not self.leaks:
            self.mem = self.mem + current
        else:
            self.mem = derived["alpha"] * self.mem + self._normalise(current, derived["alpha"])
        if not self.fires:
            return self.mem
        fired = self._count(self.mem)
        if self.reset_to == "value":
            kept = (fired == 0).to(current.dtype)
            self.mem = self.mem * kept + (1 - kept) * self.v_reset
        else:
            self.mem = self.mem - fired * self.v_threshold
        return fired

    def _normalise(self, current: Tensor, alpha: Tensor) -> Tensor:
        if self.fires and "no-norm" not in self.variant:
            return (1 - alpha) * (current + self.v_leak)
        return current + (1 - alpha) * self.v_leak

    def _count(self, mem: Tensor) -> Tensor:
        if "single-spike" in self.variant:
            return (mem - self.v_threshold >= 0).to(mem.dtype)
        whole = torch.div(mem, self.v_threshold, rounding_mode="trunc")
        return (mem > 0) * whole


class NorseNeuron(NirNeuron):
    """norse's ``IAFCell``, ``LIFBoxCell``, ``LIBoxCell`` and ``LIFCell``: forward Euler.

    ``v = v + k ((r x + v_leak) - v)`` with ``k = dt / tau``, an ``IAFCell`` ``v = v + r x``; ``z =
    (v > th)``; ``v = (1 - z) v + z v_reset``, or ``(1 - z) v + z (v - th)``. A ``LIFCell`` has ``i
    = i + w_in x`` before and ``i = i - i dt / tau_syn`` behind the membrane.
    """

    rule = "norse"

    def constants(self, dtype: torch.dtype) -> dict[str, Tensor]:
        found = {}
        if self.leaks:
            found["k"] = self.ratio(self.tau_name)
        if self.synaptic:
            found["k_syn"] = self.ratio("tau_syn")
        return {name: value.to(dtype) for name, value in found.items()}

    def initial_membrane(self) -> Tensor:
        return torch.as_tensor(self.v_leak if self.leaks else self.v_reset)

    def step(self, current: Tensor, derived: Mapping[str, Tensor]) -> Tensor:
        if self.synaptic:
            jumped = self.syn + self.w_in * current
            self.syn = jumped + -derived["k_syn"] * jumped
            charged = self.mem + derived["k"] * ((self.v_leak - self.mem) + self.r * jumped)
        elif self.kind == "LI":
            charged = self.mem + derived["k"] * ((self.v_leak - self.mem) + self.r * current)
        elif self.leaks:
            charged = self.mem + derived["k"] * (self.r * current + self.v_leak - self.mem)
        else:
            charged = self.mem + self.r * current
        if not self.fires:
            self.mem = charged
            return charged
        fired = (charged - self.v_threshold > 0).to(current.dtype)
        after = self.v_reset if self.reset_to == "value" else charged - self.v_threshold
        self.mem = (1 - fired) * charged + fired * after
        return fired


@dataclass(frozen=True)
class Rule:
    """How one framework takes a step.

    Attributes:
        neuron: the class.
        dt: seconds a step, where nothing is said.
        reset: what it does where nothing is said.
        variants: what it may do otherwise.
    """

    neuron: type[NirNeuron]
    dt: float
    reset: str
    variants: frozenset[str] = frozenset()


#: By ``--nir-rule``; what stands first is taken where neither the file nor an option says it.
RULES = {
    "snntorch": Rule(SnntorchNeuron, 1e-4, "subtract"),
    "spikingjelly": Rule(SpikingJellyNeuron, 1e-4, "value"),
    "sinabs": Rule(SinabsNeuron, 1.0, "subtract", frozenset({"single-spike", "no-norm"})),
    "norse": Rule(NorseNeuron, 1e-3, "value"),
}


@dataclass(frozen=True)
class Discretisation:
    """What a file is read by.

    Attributes:
        rule: one of ``RULES``, behind a colon its variants: ``sinabs:single-spike,no-norm``.
        dt: seconds a step.
        reset: one of ``RESETS``.
    """

    rule: str
    dt: float
    reset: str

    def __post_init__(self) -> None:
        name, _, variants = self.rule.partition(":")
        if name not in RULES:
            raise UserError(f"--nir-rule {self.rule}: allowed are {', '.join(RULES)}")
        unknown = set(filter(None, variants.split(","))) - RULES[name].variants
        if unknown:
            allowed = ", ".join(sorted(RULES[name].variants)) or "none"
            raise UserError(f"--nir-rule {self.rule}: variants of {name} are {allowed}")
        if not 0 < self.dt < float("inf"):
            raise UserError(f"--dt {self.dt}: allowed is a number above 0")
        if self.reset not in RESETS:
            raise UserError(f"--nir-reset {self.reset}: allowed are {', '.join(RESETS)}")

    def make_neuron(self, kind: str, words: Mapping[str, Tensor], reset: str) -> NirNeuron:
        """A neuron of a NIR type."""
        name, _, variants = self.rule.partition(":")
        chosen = frozenset(filter(None, variants.split(",")))
        return RULES[name].neuron(kind, words, self.dt, reset, chosen)
