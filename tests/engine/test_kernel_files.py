"""Compiled code is kept in files that several processes share."""

from __future__ import annotations

import multiprocessing
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kernel_process import sum_in_precisions, total
from numba.core import caching

from fi.engine.compiled import kernels
from fi.engine.compiled.kernels.building import code_files, compiling
from fi.engine.compiled.kernels.building.code_files import KernelCache, digest_sources
from fi.engine.compiled.kernels.building.compiling import KERNELS, compiled

SUMS = {name: float(np.full(3, 0.1, name).sum()) for name in ("float32", "float64")}


@pytest.fixture(autouse=True)
def _kernels_stay(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What a test compiles is in its own folder and not in the list."""
    monkeypatch.setattr(compiling, "KERNELS", [*KERNELS])
    monkeypatch.setattr("numba.config.CACHE_DIR", str(tmp_path))


def test_two_processes_compile_one_kernel_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    answers, meeting = context.Queue(), context.Barrier(2)

    def run(*jobs: tuple[list[str], Any]) -> list[tuple[list[float], int]]:
        started = [
            context.Process(target=sum_in_precisions, args=(tmp_path, names, barrier, answers))
            for names, barrier in jobs
        ]
        for process in started:
            process.start()
        found = [answers.get(timeout=120) for _ in started]
        for process in started:
            process.join()
        return sorted(found)

    first = run((["float32"], meeting), (["float64"], meeting))
    assert first == sorted(([SUMS[name]], 1) for name in SUMS)
    both = run(([*SUMS], None))
    assert both == [([*SUMS.values()], 0)], "the third process compiles, or loads another's code"


def made() -> Any:
    """The kernel as a new process has it, not compiled yet."""
    kernel: Any = compiled(total)
    assert kernel(np.ones(3)) == 3
    return kernel


def misses(kernel: Any) -> int:
    return sum(kernel.stats.cache_misses.values())


def test_code_is_compiled_once_until_a_source_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [misses(made()), misses(made())] == [1, 0]
    monkeypatch.setattr(code_files, "digest_sources", lambda: "of other sources")
    assert [misses(made()), misses(made())] == [1, 0]


def test_code_with_checks_of_bounds_has_files_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    made()
    monkeypatch.setattr(compiling, "CHECK_BOUNDS", True)
    assert [misses(made()), misses(made())] == [1, 0]
    monkeypatch.setattr(compiling, "CHECK_BOUNDS", False)
    assert misses(made()) == 0


@pytest.mark.parametrize("content", [b"", b"half of", b"\x80\x04."])
def test_a_broken_file_is_written_anew(content: bytes, tmp_path: Path) -> None:
    made()
    (file,) = tmp_path.rglob("*.nbc")
    file.write_bytes(content)
    assert [misses(made()), misses(made())] == [1, 0]


def test_files_of_a_kernel_can_be_removed(tmp_path: Path) -> None:
    kernel = made()
    kernel(np.ones(3, np.float32))
    assert len([*tmp_path.rglob("*.nbc")]) == 2
    kernel._cache.flush()
    assert not [*tmp_path.rglob("*.nbc")]


def test_the_digest_is_of_all_files_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("a = 1")
    (tmp_path / "b.py").write_text("b = 1")
    before = digest_sources(tmp_path)
    digest_sources.cache_clear()
    assert digest_sources(tmp_path) == before
    digest_sources.cache_clear()
    (tmp_path / "b.py").write_text("b = 2")
    after = digest_sources(tmp_path)
    assert after != before
    digest_sources.cache_clear()
    (tmp_path / "room").mkdir()
    (tmp_path / "room" / "c.py").write_text("c = 1")
    assert digest_sources(tmp_path) not in (before, after)


@pytest.mark.parametrize("missing", ["_open_for_write", "_dump"])
def test_with_another_numba_its_own_cache_serves(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(caching.IndexDataCacheFile, missing)
    monkeypatch.setattr(compiling, "KERNELS", [])
    with pytest.warns(RuntimeWarning, match="numba's own cache") as seen:
        first = compiled(total)
    assert len(seen) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        second = compiled(total)  # once is enough
    for kernel in (first, second):
        assert type(kernel._cache) is caching.FunctionCache
        assert not isinstance(kernel._cache, KernelCache)


def test_the_sources_of_kernels_are_all_in_one_folder() -> None:
    """Others, which use none of these, are told apart by the stamps of their own files."""
    folder = Path(str(kernels.__file__)).parent
    assert folder == code_files.SOURCES
    assert {"weight_faults.py", "compiling.py"} <= {path.name for path in folder.rglob("*.py")}
