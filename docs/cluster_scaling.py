"""Where a campaign on a cluster stops scaling: computed from constants that were measured.

``python docs/cluster_scaling.py`` prints the table of runs.md. The model: a worker starts, makes
its golden run and builds its traces once; then it runs groups, each with an overhead; the command
deals groups out and writes their results, one after the other, which no worker can do for it; in
the end some workers wait for the last group.
"""

from __future__ import annotations

from dataclasses import dataclass

#: How long a group is to take, and the least in the end: fi/campaign/cluster/group_queue.py.
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


def size_groups(constants: Constants, trials: int, workers: int) -> tuple[float, float]:
    """Groups in all, and the seconds of a usual one."""
    seconds = min(USUAL, max(LEAST, constants.trial * trials / (2 * workers)))
    return max(workers, trials * constants.trial / seconds), seconds


def estimate_time(constants: Constants, trials: int, workers: int) -> tuple[float, float, str]:
    """Seconds of the campaign, the part of them in which workers run trials, and what limits it."""
    groups, seconds = size_groups(constants, trials, workers)
    once = constants.start + constants.golden + constants.join * workers
    work = trials * constants.trial / workers
    by_workers = once + work + groups / workers * constants.group + LEAST / 2
    by_command = once + groups * constants.task + trials * constants.write
    total = max(by_workers, by_command)
    shares = {
        "the workers' trials": work,
        "start and golden run": once,
        "the command, which writes": by_command - once if by_command > by_workers else 0.0,
    }
    return total, work / total, max(shares, key=shares.__getitem__)


def make_table(constants: Constants, trials: int) -> str:
    """Workers, time, speed-up over one, efficiency, what limits."""
    alone = estimate_time(constants, trials, 1)[0]
    rows = ["| workers | time | speed-up | efficiency | most of the time |", "|---:|---:|---:|---:|---|"]
    for workers in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000):
        total, used, limit = estimate_time(constants, trials, workers)
        rows.append(
            f"| {workers} | {_format(total)} | {alone / total:.0f} | {100 * used:.0f} % | {limit} |"
        )
    return "\n".join(rows)


def _format(seconds: float) -> str:
    if seconds < 600:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 36000 else f"{seconds / 3600:.1f} h"
