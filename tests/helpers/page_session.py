"""Runs the blocks of a page as a reader would, one after the other in one folder."""

from __future__ import annotations

import importlib
import os
import re
import runpy
import shlex
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
from markdown_pages import PROGRAMS, ROOT, Block

sys.path.insert(0, str(ROOT / "docs"))
import options

#: The recordings and weights that are not part of the repository.
SHARED = (ROOT / ".." / "shared" / "data").resolve()
_ARGUMENT, _CALL = "\x1f", "\x1e"
_RECORD = r"record() { printf '%s\x1f' "
_RECORD += '"$@"; printf "\\x1e"; }\n'


class PageSession:
    """A folder that looks like the root of the repository, and what the page did there.

    Shell blocks are read by bash with every program replaced by one that notes its arguments;
    what was noted is then done in this process: starting Python costs seconds.
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        for part in ("fi", "models", "datamodules", "callbacks", "configs", "docs"):
            (folder / part).symlink_to(ROOT / part)
        self.names: dict[str, Any] = {"__name__": "__main__"}
        self._patch = monkeypatch
        monkeypatch.chdir(folder)
        monkeypatch.syspath_prepend(str(folder))

    def run(self, block: Block) -> None:
        """Do what the block says; an assertion fails where that does not end well."""
        if block.file:
            path = self.folder / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
            importlib.invalidate_caches()
        elif block.language == "python":
            exec(compile(block.text, block.place, "exec"), self.names)
        elif block.is_shell:
            for words in calls(block.text, self.folder):
                self._do(words, block)

    def _do(self, words: list[str], block: Block) -> None:
        program, *rest = words
        where = f"{block.place}: {shlex.join(words)}"
        if program == "python" and rest[:1] == ["-m"] and rest[1].startswith("fi."):
            self._command(rest[1], [*rest[2:], *self._added(rest[1], block)], where)
        elif program == "python" and rest and rest[0].endswith(".py"):
            with self._patch.context() as patch:
                patch.setattr(sys, "argv", rest)
                runpy.run_path(rest[0], run_name="__main__")
        elif program == "make":
            for target in rest:
                self._make(target, block, where)
        elif program == "tensorboard":
            assert rest[0] == "--logdir", where
            assert list((self.folder / rest[1]).rglob("events.out.*")), f"{where}: nothing to see"
        else:
            raise AssertionError(f"{where}: not tested; put <!-- test: skip, why --> before it")

    def _make(self, target: str, block: Block, where: str) -> None:
        """The commands of ours that a target of the Makefile runs; there is such a target."""
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        found = re.search(rf"^{target}:.*\n((?:\t.*\n)*)", makefile, re.MULTILINE)
        assert found, f"{where}: the Makefile has no such target"
        for command in re.findall(r"-m (fi\.\w+.*)", found[1]):
            self._do(["python", "-m", *shlex.split(command)], block)

    def _command(self, module: str, arguments: list[str], where: str) -> None:
        """A command of ours; those that start processes get one of their own."""
        if "--devices" in arguments:
            command = [sys.executable, "-m", module, *arguments]
            path = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
            done = subprocess.run(command, env=os.environ | path, check=False)
            assert done.returncode == 0, where
            return
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("default")  # a user sees them and goes on
                status = options.main_of(module)(arguments)
        except SystemExit as stop:  # --help
            status = stop.code
        assert status in (0, None), f"{where}: exit status {status}"

    def _added(self, module: str, block: Block) -> list[str]:
        return shlex.split(block.shrink.get(module, "").replace("$SHARED", str(SHARED)))

    def wrote(self, name: str) -> bool:
        """Whether there is such a file or folder; ``<...>`` and hashes stand for anything."""
        pattern = re.sub(r"<[^>]*>|\b[0-9a-f]{8}\b", "*", name)
        pattern = re.sub(r"\{([^,}]*)[^}]*\}", r"\1", pattern)  # the first of {clean,label}
        return any(True for _ in self.folder.glob(pattern.rstrip("/")))


def calls(text: str, folder: Path) -> list[list[str]]:
    """The programs that a shell would call for ``text``, each with its arguments."""
    stand_ins = "".join(f'{name}() {{ record {name} "$@"; }}\n' for name in PROGRAMS)
    script = f"{_RECORD}{stand_ins}{text}"
    done = subprocess.run(["bash", "-euc", script], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [call.split(_ARGUMENT)[:-1] for call in done.stdout.split(_CALL)[:-1]]
