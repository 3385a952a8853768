"""Networks that were written for SpikingJET run unchanged: their calls of an injector do nothing.

Such a network has ``self.FaultInjector = None`` in its constructor, which that tool replaces, and
calls it in its forward::

    spk1, mem1 = self.lif1(cur1, mem1)
    mem1, spk1 = self.FaultInjector.injection(mem1, spk1, "lif1", step)
"""

from __future__ import annotations

from typing import Any

from torch import nn

ATTRIBUTE = "FaultInjector"


class NoInjection:
    """Stands in for that injector: faults are injected from outside."""

    def injection(self, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """The first two arguments, membrane and spikes, in the order in which they came."""
        return (*args, *kwargs.values())[:2]


def silence(network: nn.Module) -> None:
    """Give ``network``, and modules in it that declare one, an injector that does nothing.

    Example:
        >>> network = nn.Linear(2, 2)
        >>> silence(network)
        >>> network.FaultInjector.injection("membrane", "spikes", "lif1", 3)
        ('membrane', 'spikes')
    """
    for module in network.modules():
        is_caller = module is network or hasattr(module, ATTRIBUTE)
        if is_caller and getattr(module, ATTRIBUTE, None) is None:
            setattr(module, ATTRIBUTE, NoInjection())
