"""Names of site families, and what stands for several of them.

Nothing here needs PyTorch: tables and estimates know a fault's site by its name only.
"""

from __future__ import annotations

from collections.abc import Iterable

#: What stands for the site family of a trial whose faults are in different families: of different
#: layers, or, behind the name of their common layer, of that one: ``fc1.several``.
SEVERAL = "several"


def layer_of(family: str) -> str:
    """The module of a site family: ``fc1`` of ``fc1.weight``."""
    return family.rpartition(".")[0]


def attribute_of(family: str) -> str:
    """The name within the module: ``weight`` of ``fc1.weight``."""
    return family.rpartition(".")[2]


def several_of(layer: str) -> str:
    """The name that stands for several families of a layer, ``fc1.several``."""
    return f"{layer}.{SEVERAL}" if layer else SEVERAL


def is_several(family: str) -> bool:
    """Whether this is no site family, but stands for several."""
    return attribute_of(family) == SEVERAL


def common_family(families: Iterable[str]) -> str:
    """What stands for some site families together.

    >>> common_family(["fc1.weight", "fc1.weight"])
    'fc1.weight'
    >>> common_family(["fc1.weight", "fc1.bias"])
    'fc1.several'
    >>> common_family(["fc1.weight", "lif1.beta"])
    'several'
    """
    names = set(families)
    layers = {layer_of(name) for name in names}
    if len(names) == 1:
        return names.pop()
    return several_of(layers.pop()) if len(layers) == 1 else SEVERAL
