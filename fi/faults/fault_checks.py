"""Whether a network can have a fault: its site, its model, its bits and its time steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fi.faults.fault import Fault, format_bits, format_steps
from fi.faults.fault_sites import Kind, SiteFamily
from fi.faults.groups.grouped_families import find_family
from fi.faults.models import fault_model


def check_fault(fault: Fault, families: Sequence[SiteFamily], steps: int | None = None) -> None:
    """Raise ``ValueError``, naming what is allowed, for a fault that this network cannot have.

    Args:
        fault: to be checked.
        families: the site families of the network.
        steps: time steps of a run; ``None`` leaves a transient fault's steps unchecked.

    >>> family = SiteFamily("fc1.weight", (100, 50), Kind.SYNAPSE)
    >>> check_fault(Fault(0, "fc1.weight", (0, 50), bits=3), [family])
    Traceback (most recent call last):
        ...
    ValueError: index (0, 50) is outside fc1.weight of shape (100, 50)
    """
    check_known(fault, {family.name: family for family in families}, steps)


def check_known(fault: Fault, known: Mapping[str, SiteFamily], steps: int | None = None) -> None:
    """``check_fault`` for many faults: ``known`` has the site families by name."""
    family = find_family(known, fault.layer)
    if family is None:
        raise ValueError(f"unknown layer {fault.layer!r}; known: {', '.join(known)}")
    shape = family.shape
    inside = len(fault.index) == len(shape) and all(
        0 <= digit < size for digit, size in zip(fault.index, shape, strict=False)
    )
    if not inside:
        raise ValueError(f"index {fault.index} is outside {fault.layer} of shape {shape}")
    _check_model(fault, family)
    if steps is not None and fault.steps is not None and fault.steps[-1] >= steps:
        raise ValueError(
            f"step {format_steps(fault.steps)} is after the last one: the run has {steps} steps"
        )


def _check_model(fault: Fault, family: SiteFamily) -> None:
    """Raise ``ValueError`` for a model or bits that do not fit words of this family."""
    model = fault_model(fault.model)
    if family.kind not in model.kinds:
        kinds = ", ".join(kind.value for kind in Kind if kind in model.kinds)
        raise ValueError(
            f"fault model {fault.model} does not strike {fault.layer}, a {family.kind.value} word; "
            f"allowed: {kinds}"
        )
    if fault.bits and fault.bits[-1] >= family.width:
        raise ValueError(
            f"bit {format_bits(fault.bits)} is outside {fault.layer}, "
            f"of words of {family.width} bits: 0 to {family.width - 1}"
        )
