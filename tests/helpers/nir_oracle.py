"""Neurons of NIR step by step in plain numpy float32, written from the frameworks' equations.

Nothing of fi is in here. Each takes currents ``[steps, neurons]`` and gives outputs and membranes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

F = np.float32


def run(rule: str, kind: str, words: dict[str, float], dt: float, currents: Any) -> Any:
    """Outputs and membranes, ``[steps, neurons]`` each."""
    return {"snntorch": _snntorch, "spikingjelly": _jelly, "sinabs": _sinabs, "norse": _norse}[
        rule
    ](kind, words, dt, currents)


def _snntorch(kind: str, w: dict[str, float], dt: float, currents: Any) -> Any:
    tau = w.get("tau", w.get("tau_mem", np.inf))
    beta, gain = F(1 - dt / tau), F(w["r"] * dt / tau) if tau < np.inf else F(w["r"] * dt)
    leak = F(dt / tau * w.get("v_leak", 0.0))
    threshold, outputs, membranes = F(w.get("v_threshold", 0)), [], []
    v = i = np.zeros(currents.shape[1], F)
    for x in currents:
        if kind.startswith("Cuba"):
            alpha, into = F(1 - dt / w["tau_syn"]), F(w["w_in"] * dt / w["tau_syn"])
            i = alpha * i + into * x
            x = i
        x = gain * x
        if kind.endswith("LI"):
            v = beta * v + x + leak
            outputs.append(v)
        else:
            reset = (v > threshold).astype(F)
            v = beta * v + (x + leak) - reset * threshold
            outputs.append((v > threshold).astype(F))
        membranes.append(v)
    return np.array(outputs), np.array(membranes)


def _jelly(kind: str, w: dict[str, float], dt: float, currents: Any) -> Any:
    tau = w.get("tau", w.get("tau_mem", np.inf))
    steps, rest = F(tau / dt), F(w.get("v_leak", 0.0))
    fires = kind.endswith("IF")
    start = w["v_reset"] if fires else w["v_leak"]
    v, i = np.full(currents.shape[1], start, F), np.zeros(currents.shape[1], F)
    outputs, membranes = [], []
    for x in currents:
        if kind == "IF":
            h = v + F(w["r"] * dt) * x
        elif kind.startswith("Cuba"):
            i = i * F(1 - dt / w["tau_syn"]) + F(w["w_in"] * dt / w["tau_syn"]) * x
            h = v * F(1 - dt / tau) + (F(w["r"] * dt / tau) * i + F(dt / tau * w["v_leak"]))
        elif w["r"] == 1:
            h = v + (x - (v - rest)) / steps
        else:
            h = v - (v - rest) / steps + F(w["r"] * dt / tau) * x
        z = (h >= F(w.get("v_threshold", np.inf))).astype(F)
        v = z * F(w.get("v_reset", 0.0)) + (1 - z) * h
        outputs.append(z if fires else h)
        membranes.append(v)
    return np.array(outputs), np.array(membranes)


def _sinabs(kind: str, w: dict[str, float], dt: float, currents: Any) -> Any:
    import torch

    def decay(tau: float) -> Any:  # an exponential is rounded as the library does it
        return torch.exp(-1.0 / torch.tensor(tau / dt, dtype=torch.float32)).numpy()[()]

    tau = w.get("tau", w.get("tau_mem", np.inf))
    alpha = decay(tau) if tau < np.inf else F(1)
    v = i = np.zeros(currents.shape[1], F)
    outputs, membranes = [], []
    for x in currents:
        if kind.startswith("Cuba"):
            i = decay(w["tau_syn"]) * (i + F(w["w_in"]) * x)
            x = i
        x = F(w["r"]) * x
        leak = F(w.get("v_leak", 0.0))
        if kind == "IF":
            v = v + x
        elif kind.endswith("LI"):
            v = alpha * v + (x + (1 - alpha) * leak)
        else:
            v = alpha * v + (1 - alpha) * (x + leak)
        if kind.endswith("LI"):
            outputs.append(v)
        else:
            z = np.where(v > 0, np.trunc(v / F(w["v_threshold"])), 0).astype(F)
            v = v - z * F(w["v_threshold"])
            outputs.append(z)
        membranes.append(v)
    return np.array(outputs), np.array(membranes)


def _norse(kind: str, w: dict[str, float], dt: float, currents: Any) -> Any:
    tau = w.get("tau", w.get("tau_mem", np.inf))
    k, rest = F(dt / tau), F(w.get("v_leak", 0.0))
    start = w["v_reset"] if kind == "IF" else w["v_leak"]
    v, i = np.full(currents.shape[1], start, F), np.zeros(currents.shape[1], F)
    outputs, membranes = [], []
    for x in currents:
        if kind.startswith("Cuba"):
            jump = i + F(w["w_in"]) * x
            v = v + k * ((rest - v) + F(w["r"]) * jump)
            i = jump - F(dt / w["tau_syn"]) * jump
        elif kind == "LI":
            v = v + k * ((rest - v) + F(w["r"]) * x)
        elif kind == "LIF":
            v = v + k * ((F(w["r"]) * x + rest) - v)
        else:
            v = v + F(w["r"]) * x
        if kind.endswith("LI"):
            outputs.append(v)
        else:
            z = (v > F(w["v_threshold"])).astype(F)
            v = (1 - z) * v + z * F(w["v_reset"])
            outputs.append(z)
        membranes.append(v)
    return np.array(outputs), np.array(membranes)
