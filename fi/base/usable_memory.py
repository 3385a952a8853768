"""How much memory this process may use: the machine's, less what limits it."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator, Mapping
from pathlib import Path

#: By which launchers tell how many processes of a job share a machine, the most reliable first.
_PROCESSES = ("LOCAL_WORLD_SIZE", "SLURM_NTASKS_PER_NODE", "OMPI_COMM_WORLD_LOCAL_SIZE")
_MEBI = 1 << 20
#: What else limits this process, see ``limit_memory``.
_own_limits: list[int] = []


def find_usable_memory(environment: Mapping[str, str] | None = None, root: Path = Path("/")) -> int:
    """Bytes that this process may use: its share of the smallest limit that is set.

    The limits are the machine's memory, those of the control groups that the process is in, of
    SLURM, of ``ulimit``, and of ``limit_memory``; all but the last two are shared by the processes
    of a job.

    Args:
        environment: variables; those of the process by default.
        root: of the file system.
    """
    variables = os.environ if environment is None else environment
    shared = [_physical_memory(), *_read_control_groups(root), *_read_slurm(variables)]
    own = [limit for limit in (*_read_limits(), *_own_limits) if limit > 0]
    return min(min(shared) // count_processes(variables), *own, _physical_memory())


def limit_memory(limit: int | None) -> None:
    """This process may use ``limit`` bytes from now on; ``None`` is no limit of its own."""
    _own_limits[:] = [] if limit is None else [limit]


def count_processes(variables: Mapping[str, str]) -> int:
    """How many processes of the job share the machine."""
    for name in _PROCESSES:
        value = variables.get(name, "").partition("(")[0]  # SLURM writes 2(x3)
        if value.isdigit() and int(value) > 0:
            return int(value)
    return 1


def _physical_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _read_limits() -> Iterator[int]:
    """The limits of ``ulimit -v`` and ``ulimit -d``."""
    for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
        soft, _ = resource.getrlimit(kind)
        if soft != resource.RLIM_INFINITY:
            yield soft


def _read_slurm(variables: Mapping[str, str]) -> Iterator[int]:
    """What SLURM gives a job on a node, which it says in MiB."""
    node, cpu = variables.get("SLURM_MEM_PER_NODE", ""), variables.get("SLURM_MEM_PER_CPU", "")
    cpus = variables.get("SLURM_CPUS_ON_NODE", "")
    if node.isdigit() and int(node) > 0:  # 0 is all of it
        yield int(node) * _MEBI
    elif cpu.isdigit() and cpus.isdigit() and int(cpu) > 0:
        yield int(cpu) * int(cpus) * _MEBI


def _read_control_groups(root: Path) -> Iterator[int]:
    """The limits of the process's control group and of those around it, versions 1 and 2."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:  # no Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        unified = controllers == ""
        if not unified and "memory" not in controllers.split(","):
            continue
        folder = "sys/fs/cgroup" if unified else "sys/fs/cgroup/memory"
        name = "memory.max" if unified else "memory.limit_in_bytes"
        inner = Path(path.lstrip("/"))
        # within a container the path may be that of the host: the file is at the top then
        for part in (inner, *inner.parents, Path()):
            value = _read_number(root / folder / part / name)
            if value:
                yield value


def _read_number(path: Path) -> int | None:
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None  # "max" is none
