"""The memory that a process may use is the smallest limit, shared by the job's processes."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from fi.base.usable_memory import count_processes, find_usable_memory

GIBI = 1 << 30
ALL = find_usable_memory({}, Path("/nowhere"))


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_without_limits_it_is_the_machines() -> None:
    assert GIBI // 4 < ALL < 1 << 50


@pytest.mark.parametrize("where", ["memory.max", "job/memory.max", "job/step/memory.max"])
def test_a_control_group_or_one_around_it_limits(tmp_path: Path, where: str) -> None:
    write(tmp_path / "proc/self/cgroup", "0::/job/step\n")
    write(tmp_path / "sys/fs/cgroup/job/step/memory.max", "max\n")
    write(tmp_path / "sys/fs/cgroup" / where, "100000000\n")
    assert find_usable_memory({}, tmp_path) == 100_000_000


def test_the_first_version_of_control_groups(tmp_path: Path) -> None:
    write(tmp_path / "proc/self/cgroup", "4:cpu:/a\n3:memory,hugetlb:/b\n")
    write(tmp_path / "sys/fs/cgroup/memory/b/memory.limit_in_bytes", "50000000\n")
    write(tmp_path / "sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")
    assert find_usable_memory({}, tmp_path) == 50_000_000


def test_slurm_says_it_in_mebibytes() -> None:
    nowhere = Path("/nowhere")
    assert find_usable_memory({"SLURM_MEM_PER_NODE": "64"}, nowhere) == 64 << 20
    by_cpu = {"SLURM_MEM_PER_CPU": "16", "SLURM_CPUS_ON_NODE": "4"}
    assert find_usable_memory(by_cpu, nowhere) == 64 << 20
    assert find_usable_memory({"SLURM_MEM_PER_NODE": "0"}, nowhere) == ALL


def test_the_processes_of_a_job_share_it() -> None:
    assert find_usable_memory({"LOCAL_WORLD_SIZE": "4"}, Path("/nowhere")) == ALL // 4
    assert count_processes({"SLURM_NTASKS_PER_NODE": "2(x3)"}) == 2
    assert count_processes({"SLURM_NTASKS_PER_NODE": "many"}) == 1


def test_a_limit_of_the_shell_is_the_processes_own() -> None:
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_DATA, (400000000, -1));"
        "from pathlib import Path; from fi.base.usable_memory import find_usable_memory;"
        "print(find_usable_memory({'LOCAL_WORLD_SIZE': '2'}, Path('/nowhere')))"
    )
    assert resource.getrlimit(resource.RLIMIT_DATA)[0] == resource.RLIM_INFINITY
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) == min(400_000_000, ALL // 2)
