"""Where a campaign on a cluster stops scaling: computed from constants that were measured.

``python docs/cluster_scaling.py`` prints the table of runs.md. The model: a worker starts, makes
its golden run and builds its traces once; then it runs groups, each with an overhead; the command
deals groups out and writes their results, one after the other, which no worker can do for it; in
the end some workers wait for the last group.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Seconds of a usual group, and of the last ones: fi/campaign/cluster/group_queue.py.
USUAL, LEAST = 20.0, 2.0


@dataclass(frozen=True)
class Constants:
    """Seconds.

    Attributes:
        start: of a worker, from its process to a subject: imports, network, data.
        golden: its golden run, and the traces that its first group builds.
        trial: of a trial on a worker, of one thread.
        group: what a worker spends on a group beside its trials.
        task: what the command spends on a group: to deal it out, to take and check its result.
        write: what the command spends on a trial: to send it, to write its row.
        join: what the command spends on a worker: to send the order.
    """

    start: float
    golden: float
    trial: float
    group: float
    task: float
    write: float
    join: float


#: SpikingVGG with its 1,000 test samples, a worker of one thread; processor time, measured on two
#: shared cores. A trial: 3.9 us a pair on two cores. A task, a row: tiny campaigns of many groups.
VGG = Constants(
    start=9.0, golden=12.0, trial=7.8e-3, group=8e-3, task=6e-3, write=1.0e-5, join=1.0e-2
)


def estimate_time(constants: Constants, trials: int, workers: int) -> tuple[float, float, str]:
    """Seconds of the campaign, the part of them in which workers run trials, and what else is."""
    work = trials * constants.trial / workers
    seconds = min(USUAL, max(LEAST, work / 2))
    groups = max(workers, work * workers / seconds)
    once = constants.start + constants.golden
    by_workers = work + groups / workers * constants.group + min(work, LEAST) / 2
    by_command = groups * constants.task + trials * constants.write + workers * constants.join
    total = once + max(by_workers, by_command)
    limits = {
        "trials": work,
        "start and golden run of a worker": once,
        "the command: dealing out and writing": by_command if by_command > by_workers else 0.0,
    }
    return total, work / total, max(limits, key=limits.__getitem__)


def make_table(constants: Constants, trials: int) -> str:
    """Time, speed-up over one worker, and what takes most of the time, by workers."""
    alone = estimate_time(constants, trials, 1)[0]
    rows = ["| workers | time | speed-up | at work | most of the time |", "|" + "---|" * 5]
    for workers in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000):
        total, used, limit = estimate_time(constants, trials, workers)
        speed_up = f"{alone / total:.3g}"
        rows.append(f"| {workers} | {_format(total)} | {speed_up} | {used:.0%} | {limit} |")
    return "\n".join(rows)


def _format(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 60:.0f} min"


if __name__ == "__main__":
    print(make_table(VGG, 1_000_000))
