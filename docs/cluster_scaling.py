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


#: SpikingVGG with 1,000 samples, a worker of one thread. Measured as processor time on two shared
#: cores: the start (of a worker, on CSNN), a group and a task (tiny campaigns of 6 and of 37
#: groups), a row. Measured on two cores: a trial (3.92 us a pair) and the golden
#: run (1.91 ms a sample, and as much again twice for the trace). Supposed: to join.
VGG = Constants(
    start=6.4, golden=12.0, trial=7.8e-3, group=8e-3, task=6e-3, write=1.0e-5, join=1.0e-2
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
