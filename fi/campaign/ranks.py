"""The processes of one campaign: the others get what the first one finds, a lost one is noticed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import pytorch_lightning as pl
import torch.distributed as dist

from fi.base.errors import FailedElsewhere, UserError, first_line

T = TypeVar("T")
#: How the transports of torch.distributed report that a peer is gone.
_LOST = re.compile("gloo|nccl|TCPStore|connection (closed|reset|refused)|socket|timed out", re.I)


class ProcessLost(UserError):
    """Another process of the campaign has ended before its time."""


class Processes:
    """The processes among which Lightning splits a campaign; often there is only this one.

    Args:
        trainer: its strategy has the processes; they exist once it has made a first test run.
    """

    def __init__(self, trainer: pl.Trainer) -> None:
        self._trainer = trainer

    @property
    def count(self) -> int:
        """How many there are."""
        return self._trainer.world_size

    @property
    def rank(self) -> int:
        """The number of this one, from 0."""
        return self._trainer.global_rank

    @property
    def first(self) -> bool:
        """Whether this is the one that makes folders, holds locks, writes and speaks."""
        return self._trainer.is_global_zero

    def run_on_first(self, work: Callable[[], T]) -> T:
        """Run ``work`` in the first process while the others wait; what it gives, in all of them.

        Raises:
            FailedElsewhere: in the others, where ``work`` has failed in the first one.
        """
        if self.count == 1:
            return work()
        if self.first:
            return self._share(work)
        shared: list[Any] = [None]
        dist.broadcast_object_list(shared, src=0)
        done, value = shared[0]
        if not done:
            raise FailedElsewhere(value)
        result: T = value
        return result

    def _share(self, work: Callable[[], T]) -> T:
        """Run ``work`` and tell the other processes what it gives, or that it has failed."""
        try:
            value = work()
        except BaseException as error:
            dist.broadcast_object_list([(False, first_line(error))], src=0)
            raise
        dist.broadcast_object_list([(True, value)], src=0)
        return value

    def check_same(self, what: Mapping[str, str]) -> None:
        """Raise ``UserError`` where another process has other values, naming it and the keys."""
        if self.count == 1:
            return
        gathered: list[Any] = [None] * self.count
        dist.all_gather_object(gathered, dict(what))
        for rank, other in enumerate(gathered):
            wrong = [key for key in what if other[key] != gathered[0][key]]
            if wrong:
                kind = UserError if self.first else FailedElsewhere
                raise kind(f"process {rank} has not the same {', '.join(wrong)} as process 0")

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Raise ``ProcessLost`` where waiting for another process ends because that is gone.

        Ctrl-C reaches all processes; only the first one reports it.
        """
        try:
            yield
        except KeyboardInterrupt:
            if self.first:
                raise
            raise FailedElsewhere("interrupted") from None
        except RuntimeError as error:
            if self.count > 1 and _LOST.search(str(error)):
                raise ProcessLost(
                    f"process {self.rank} of {self.count}: another process has ended "
                    f"({first_line(error)}); what is stored is kept, the same command continues"
                ) from error
            raise
