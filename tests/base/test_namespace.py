"""One name is installed, ``fi``; imports are checked where the import linter cannot look."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from places import ROOT

from fi.base.checkout_folders import FOLDERS, folder_of

#: What may import callbacks: it hands them to campaigns.
MAY_IMPORT_CALLBACKS = {"test", "train", "api", "benchmark"}


def imports_in(file: Path) -> Iterator[str]:
    """The modules that a file imports by their whole names, wherever in the file."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from (f"{node.module}.{name.name}" for name in node.names)


def sources(*folders: str) -> list[Path]:
    return sorted(file for folder in folders for file in (ROOT / folder).rglob("*.py"))


def test_nobody_imports_our_folders_by_their_bare_names() -> None:
    files = sources("fi", "models", "datamodules", "callbacks", "tests", "docs")
    found = {
        f"{file.relative_to(ROOT)}: {name}"
        for file in files
        for name in imports_in(file)
        if name.partition(".")[0] in FOLDERS
    }
    assert len(files) > 200
    assert not found


def test_rooms_import_neither_networks_nor_data_nor_callbacks() -> None:
    found = {
        f"{file.relative_to(ROOT)}: {name}"
        for file in sources("fi")
        for name in imports_in(file)
        if name.startswith(("fi.models", "fi.datamodules", "fi.callbacks"))
        and not (file.parent.name == "fi" and file.stem in MAY_IMPORT_CALLBACKS)
    }
    assert not found


def test_every_room_is_installed() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    rooms = {
        ".".join(file.parent.relative_to(ROOT).parts) for file in ROOT.glob("fi/**/__init__.py")
    }
    listed = text.partition("\npackages = [")[2].partition("]")[0]
    assert set(ast.literal_eval(f"[{listed}]")) == rooms | {f"fi.{name}" for name in FOLDERS}


def test_a_checkout_has_its_own_folders_whichever_is_installed(tmp_path: Path) -> None:
    """A clone is run by the Python into which this checkout is installed."""
    clone = tmp_path / "clone"
    clone.mkdir()
    for name in ("fi", "models", "datamodules", "callbacks", "configs"):
        subprocess.run(["cp", "-r", ROOT / name, clone / name], check=True)
    code = (
        "from fi.base.checkout_folders import FOLDERS, folder_of\n"
        "print(*map(folder_of, FOLDERS), sep='\\n')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=clone, capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines() == [str(clone / name) for name in FOLDERS], done.stderr


@pytest.mark.parametrize("name", ["fi.fi", "fi.tests", "fi.docs"])
def test_nothing_else_beside_fi_is_part_of_it(name: str) -> None:
    with pytest.raises(ModuleNotFoundError):
        __import__(name)
    assert folder_of("models") == ROOT / "models"


def test_no_file_name_stands_twice_in_fi() -> None:
    modules = (ROOT / "fi").rglob("*.py")
    names = Counter(file.name for file in modules if not file.name.startswith("__"))
    assert len(names) > 100
    assert [name for name, number in names.items() if number > 1] == []
