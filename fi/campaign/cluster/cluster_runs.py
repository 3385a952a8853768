"""The test runs of a campaign on a cluster: groups of trials are tasks, results come in order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl

from fi.base.errors import UserError
from fi.campaign.cluster import worker_campaign
from fi.campaign.cluster.cluster_place import connect
from fi.campaign.cluster.crew import Crew, NotFetched
from fi.campaign.cluster.group_queue import Group, GroupQueue, GroupSizes
from fi.campaign.cluster.packing import pack_trials
from fi.campaign.cluster.work_order import WorkOrder
from fi.campaign.cluster.worker_campaign import GroupFound, NotPrepared, Released
from fi.campaign.golden_run import GoldenRun
from fi.campaign.running.decision_counts import DecisionCounts
from fi.campaign.running.group_runs import GroupRun, GroupRuns
from fi.campaign.running.listeners import Listeners
from fi.campaign.subject import Subject
from fi.engine.base import Engine
from fi.store.decisions import add_decision_counts

if TYPE_CHECKING:
    from distributed import Future

#: Groups that a worker has at a time: one runs, one waits, so that it never idles.
_AT_ONCE = 2


class WorkerLost(UserError):
    """A group has failed with its worker as often as it may."""


@dataclass
class _Task:
    """A group that a worker has."""

    group: Group
    worker: str
    future: Future[Any]


class ClusterRuns(GroupRuns):
    """Runs trials in groups on the workers of a Dask cluster, and gives them in the list's order.

    Args:
        trainer, engine, subject, golden: of this process, which runs none of the trials.
        keep_pairs: give the pairs of every group.
        cluster: as ``--cluster`` names it.
        order: what the workers are told.
        listeners: hear of workers and of groups that are run.
        trial_part: of a golden run that a trial takes at most, as is expected before the first.
        say: takes the lines for the user.
    """

    def __init__(
        self,
        trainer: pl.Trainer,
        engine: Engine,
        subject: Subject,
        golden: GoldenRun,
        keep_pairs: bool,
        cluster: str,
        order: WorkOrder,
        listeners: Listeners,
        trial_part: float,
        say: Callable[[str], None],
    ) -> None:
        super().__init__(trainer, engine, subject, golden, keep_pairs=keep_pairs)
        self.cluster, self.order = cluster, order
        self.listeners, self.say = listeners, say
        self._trial_part = trial_part
        self.ways: list[tuple[int, Mapping[str, int]]] = []  # trials and decisions of each group
        self._sizes = GroupSizes()
        self._crew: Crew | None = None
        self._workers = 0
        self._tasks: dict[Any, _Task] = {}
        self._ran: set[str] = set()  # workers that have run a group

    @contextmanager
    def open(self) -> Iterator[None]:
        """The connection to the cluster; afterwards no task of it is left there.

        Raises:
            UserError: the cluster cannot be reached, or was lost.
        """
        with connect(self.cluster) as client:
            address = client.scheduler.address if client.scheduler else self.cluster
            self.say(f"cluster {address}, dashboard {client.dashboard_link}")
            self._crew = Crew(client, self.cluster, self.order, self.say)
            try:
                yield
            finally:
                self._release(self._crew)
                self._crew = None

    def _release(self, crew: Crew) -> None:
        for task in self._tasks.values():
            task.future.cancel(reason="given up", msg="given up")
        self._tasks.clear()
        crew.release()

    def summarise(self) -> dict[str, Any]:
        return {"cluster": {"address": self.cluster, "workers": len(self._ran)}}

    def make_decisions(self, earlier: Mapping[str, int]) -> DecisionCounts:
        return _ClusterDecisions(self, earlier)

    def size_group(self, trials: int) -> int:
        return trials

    def run(self, trials: Sequence[Any]) -> Iterator[GroupRun]:
        crew = self._crew
        assert crew is not None
        queue: GroupQueue[GroupFound] = GroupQueue(len(trials), self._sizes)
        while not queue.finished:
            if crew.is_time_to_look:
                self._look(crew, queue)
            self._hand_out(crew, queue, trials)
            if (future := crew.wait()) is not None:
                self._take_result(crew, queue, future)
            for group, found in queue.pop_ready():
                self.ways.append((len(group), found.ways))
                yield trials[group.start : group.end], found.counts, found.packed

    def _look(self, crew: Crew, queue: GroupQueue[GroupFound]) -> None:
        """See who has come and who is gone; what the latter had goes to others."""
        for address in crew.look():
            own = [task for task in self._tasks.values() if task.worker == address]
            for place, task in enumerate(own):
                del self._tasks[task.future.key]
                task.future.cancel(reason="worker lost", msg="its worker is gone")
                if place:  # it has waited behind the first one
                    queue.put_back(task.group)
                else:
                    queue.fail(task.group, address, self._describe_loss(task))

    def _describe_loss(self, task: _Task) -> WorkerLost:
        return WorkerLost(
            f"--cluster {self.cluster}: {len(task.group)} trials have lost their worker "
            f"{len(task.group.failed_on) + 1} times, at last {task.worker}: it was killed, or out "
            "of memory (--memory); what is stored is kept, the same command continues"
        )

    def _hand_out(self, crew: Crew, queue: GroupQueue[GroupFound], trials: Sequence[Any]) -> None:
        """Give every worker that is ready as many groups as it may have."""
        self._note_workers(crew)
        held = Counter(task.worker for task in self._tasks.values())
        for turn in range(_AT_ONCE):
            for address in crew.ready:
                if held[address] > turn:
                    continue
                group = queue.take(len(crew.ready), address)
                if group is None:
                    continue
                packed = pack_trials(trials[group.start : group.end])
                token = self.order.token
                future = crew.submit(address, worker_campaign.run_group, token, packed)
                self._tasks[future.key] = _Task(group, address, future)
                held[address] += 1

    def _note_workers(self, crew: Crew) -> None:
        """Tell how many run trials, and learn from those who are new how long a group may be."""
        if len(crew.ready) != self._workers:
            self._workers = len(crew.ready)
            self.listeners.report_workers(self._workers)
            for prepared in crew.ready.values():
                self._sizes.note_golden(prepared.golden_seconds, self._trial_part)

    def _take_result(self, crew: Crew, queue: GroupQueue[GroupFound], future: Future[Any]) -> None:
        """Take what a task has found, or give its group to another worker."""
        task = self._tasks.get(future.key)
        if task is None:  # its worker was taken for lost
            return
        try:
            found: GroupFound = crew.fetch(future)
        except NotFetched:  # look finds its worker gone, or it comes again
            return
        except (NotPrepared, Released):
            del self._tasks[future.key]
            queue.put_back(task.group)
            crew.prepare_anew(task.worker)
        except Exception as error:
            del self._tasks[future.key]
            queue.fail(task.group, task.worker, error)
        else:
            del self._tasks[future.key]
            is_first = task.worker not in self._ran
            self._sizes.note(len(task.group), found.seconds, found.golden_seconds, is_first)
            self._ran.add(task.worker)
            self.listeners.report_remote_group(found.counts)
            queue.finish(task.group, found)


class _ClusterDecisions(DecisionCounts):
    """Adds up what the workers have counted of the groups that are stored."""

    def __init__(self, runs: ClusterRuns, earlier: Mapping[str, int]) -> None:
        super().__init__(runs.engine, runs.golden.samples, 1, earlier)
        self._runs = runs

    def count(self, done: int) -> dict[str, int]:
        total = dict(self._earlier)
        for trials, ways in self._runs.ways:
            if done <= 0:
                break
            total, done = add_decision_counts(total, ways), done - trials
        return total
