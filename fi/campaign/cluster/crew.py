"""The workers of a cluster as a client sees them: who is ready, who is refused, who is gone."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from fi.base.errors import UserError, first_line
from fi.campaign.cluster import worker_campaign
from fi.campaign.cluster.work_order import Prepared, WorkOrder

if TYPE_CHECKING:
    from distributed import Client, Future

#: Seconds between two looks at who is there.
_LOOK = 1.0
#: Seconds in which a result that is ready must have come; its worker may be gone.
_FETCH = 30.0
#: Seconds without a worker after which the user is told what is waited for.
_PATIENCE = 5.0


class ClusterLost(UserError):
    """The scheduler of a cluster does not answer any more."""


class NotFetched(Exception):
    """A task has ended, but its worker or the scheduler is gone."""


class Crew:
    """Gives tasks to workers, each to one that it names.

    Args:
        client: connected to the cluster.
        cluster: as the user names it.
        order: that the workers are to fulfil.
        say: takes the lines for the user.

    Attributes:
        ready: the workers that have the golden run, by address, and what they said.
        refused: why others take no part, by address.
    """

    def __init__(
        self, client: Client, cluster: str, order: WorkOrder, say: Callable[[str], None]
    ) -> None:
        self.client, self.cluster, self.order, self.say = client, cluster, order, say
        self.ready: dict[str, Prepared] = {}
        self.refused: dict[str, str] = {}
        self._preparing: dict[str, Future[Any]] = {}
        self._ended: SimpleQueue[Future[Any]] = SimpleQueue()
        self._numbers = 0
        self._looked = float("-inf")
        self._alone_since: float | None = time.monotonic()

    @property
    def is_time_to_look(self) -> bool:
        """Whether nobody has looked for a while."""
        return time.monotonic() - self._looked > _LOOK

    def look(self) -> list[str]:
        """Prepare who is new; the addresses of ready workers that are gone.

        Raises:
            ClusterLost: the scheduler is gone.
            UserError: there are workers, but all of them were refused.
        """
        there = self._list_workers()
        self._looked = time.monotonic()
        gone = [address for address in self.ready if address not in there]
        for known in (self.ready, self.refused, self._preparing):
            for address in [address for address in known if address not in there]:
                del known[address]
        for address in there - self.ready.keys() - self.refused.keys() - self._preparing.keys():
            self._prepare(address)
        self._say_if_alone(bool(there))
        if self.refused and not self.ready and not self._preparing:
            address, reason = next(iter(self.refused.items()))
            raise UserError(
                f"--cluster {self.cluster}: no worker can take part, {len(self.refused)} "
                f"{'is' if len(self.refused) == 1 else 'are'} refused, as {address}: {reason}"
            )
        return gone

    def _say_if_alone(self, anybody: bool) -> None:
        """Say once, after some seconds, that there is no worker."""
        if anybody:
            self._alone_since = None
        elif self._alone_since is not None and self._looked - self._alone_since > _PATIENCE:
            self._alone_since = None
            self.say(f"--cluster {self.cluster} has no worker yet: waiting for one")

    def _list_workers(self) -> set[str]:
        try:
            if self.client.status != "running":
                raise OSError("the connection is closed")
            return set(self.client.nthreads())
        except (OSError, RuntimeError) as error:
            raise ClusterLost(
                f"--cluster {self.cluster}: the scheduler is gone ({first_line(error)}); what is "
                "stored is kept, the same command continues"
            ) from error

    def _prepare(self, address: str) -> None:
        future = self.submit(address, worker_campaign.prepare, self.order)
        self._preparing[address] = future

    def prepare_anew(self, address: str) -> None:
        """Another campaign has taken the worker: take it back."""
        if self.ready.pop(address, None) is not None:
            self._prepare(address)

    def submit(self, address: str, task: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Give the worker at ``address`` a task, and no other one."""
        self._numbers += 1
        key = f"{task.__name__}-{self.order.token}-{self._numbers}"
        future = self.client.submit(
            task, *arguments, key=key, workers=[address], allow_other_workers=False, pure=False
        )
        future.add_done_callback(self._ended.put)
        return future

    def wait(self) -> Future[Any] | None:
        """A task that has ended, or ``None`` when it is time to look who is there."""
        try:
            future = self._ended.get(timeout=_LOOK)
        except Empty:
            return None
        return None if self._note_prepared(future) else future

    def _note_prepared(self, future: Future[Any]) -> bool:
        """Whether the task was to prepare a worker: that is noted."""
        address = next((a for a, f in self._preparing.items() if f.key == future.key), None)
        if address is None:
            return str(future.key).startswith(f"{worker_campaign.prepare.__name__}-")
        try:
            prepared: Prepared = self.fetch(future)
        except NotFetched:  # look finds it gone
            return True
        except Exception as error:  # of a user's code as well
            self._refuse(address, f"{type(error).__name__}: {first_line(error)}")
            return True
        if prepared.differing:
            self._refuse(address, f"{prepared.host}: {prepared.explain()}")
        else:
            del self._preparing[address]
            self.ready[address] = prepared
        return True

    def _refuse(self, address: str, reason: str) -> None:
        del self._preparing[address]
        self.refused[address] = reason
        self.say(f"worker {address} is refused: {reason}")

    def fetch(self, future: Future[Any]) -> Any:
        """What a task gave; what it has raised is raised.

        Raises:
            NotFetched: its worker is gone, or the scheduler.
        """
        if future.status == "error":
            error = future.exception()
            raise error.with_traceback(future.traceback())
        try:
            if future.status != "finished":
                raise NotFetched(future.status)
            return future.result(timeout=_FETCH)
        except (TimeoutError, OSError, CancelledError) as error:
            future.add_done_callback(self._ended.put)  # should it come after all
            raise NotFetched(future.status) from error

    def release(self) -> None:
        """Give all tasks up, also those that run."""
        if self.client.status == "running":
            with suppress(OSError):  # of workers that are gone
                self.client.cancel(list(self._preparing.values()), reason="given up", msg="")
                self.client.run(worker_campaign.release, self.order.token, on_error="ignore")
