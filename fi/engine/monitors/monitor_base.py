"""What a monitor is: it learns what is usual on training data, and reports samples that are not."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor


@dataclass(frozen=True)
class NeuronActivity:
    """What the neurons of a network did in one inference.

    A neuron that is called several times a step has an entry for each call.

    Attributes:
        spikes: by layer, in the order of the first call, ``[time, batch, ...]``.
        membranes: the same of the layers that keep one.
        output: the layer that the scores are made of; ``None`` where one without neurons is read.
    """

    spikes: Mapping[str, Tensor]
    membranes: Mapping[str, Tensor]
    output: str | None

    @property
    def hidden(self) -> list[str]:
        """The layers that are not the output."""
        return [name for name in self.spikes if name != self.output]


class Monitor(ABC):
    """Looks at the activity of every inference, and reports samples.

    A monitor of your own is a subclass in a file of yours, ``--monitor ./my_file.py:MyMonitor``. It
    is made without arguments, learns on the training data, and then stays as it is.

    Class attributes:
        name: in tables and in ``fi.coverage --detect``; that of the class where it has none,
            ``TooQuiet`` as ``too-quiet``.

    Example:
        >>> import torch
        >>> class TooQuiet(Monitor):
        ...     def learn(self, activity: NeuronActivity) -> None:
        ...         pass
        ...     def find_alarms(self, activity: NeuronActivity) -> Tensor:
        ...         return activity.spikes[activity.output].flatten(2).sum((0, 2)) == 0
        >>> spikes = torch.zeros(5, 2, 10)
        >>> spikes[3, 1, 7] = 1
        >>> TooQuiet().find_alarms(NeuronActivity({"lif2": spikes}, {}, "lif2"))
        tensor([ True, False])
    """

    name: ClassVar[str] = ""

    @abstractmethod
    def learn(self, activity: NeuronActivity) -> None:
        """Take a batch of training samples, without a fault; it is called for each of them."""

    @abstractmethod
    def find_alarms(self, activity: NeuronActivity) -> Tensor:
        """Which samples it reports, bool ``[batch]``."""
