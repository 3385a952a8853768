"""The public names: all resolve, whatever was imported before, and importing costs little."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
from types import ModuleType

import pytest
from places import ROOT

#: Modules whose names are public: docs/how-to.md, README.md.
LAZY = ("fi", "fi.sampling", "fi.faults", "fi.network", "fi.metrics", "fi.campaign")
PUBLIC = (*LAZY, "fi.fault_models", "fi.monitors", "fi.word_maps", "fi.sites", "fi.readout")


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_resolves(name: str) -> None:
    module = importlib.import_module(name)
    names = module.__all__
    assert names
    assert sorted(names) == sorted(set(names))
    for public in names:
        assert not isinstance(getattr(module, public), ModuleType)
    assert set(names) <= set(dir(module))


@pytest.mark.parametrize("name", LAZY)
def test_types_and_values_are_of_the_same_modules(name: str) -> None:
    """What mypy reads below ``TYPE_CHECKING`` is what is loaded."""
    module = importlib.import_module(name)
    tree = ast.parse(inspect.getsource(module))
    (guarded,) = (
        node
        for node in tree.body
        if isinstance(node, ast.If) and isinstance(node.body[0], ast.ImportFrom)
    )
    homes = {
        alias.name: importlib.import_module(str(node.module))
        for node in guarded.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert set(homes) == set(module.__all__)
    for public, home in homes.items():
        assert getattr(module, public) is getattr(home, public)


@pytest.mark.parametrize("name", LAZY)
def test_an_unknown_name_lists_what_there_is(name: str) -> None:
    module = importlib.import_module(name)
    with pytest.raises(AttributeError, match=f"{name}' has no attribute 'nothing'; it has: ") as no:
        _ = module.nothing
    assert all(public in str(no.value) for public in module.__all__)


def test_importing_the_packages_loads_nothing() -> None:
    code = (
        f"import sys, {', '.join(LAZY)}\n"
        "heavy = {'torch', 'numpy', 'pandas', 'pytorch_lightning', 'matplotlib', 'numba'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_pages_import_public_names_only() -> None:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    imports = re.findall(r"^from (fi[\w.]*) import ([\w, ]+)$", text, flags=re.MULTILINE)
    assert len(imports) >= 8
    for name, names in imports:
        assert name in {*PUBLIC, "fi.models", "fi.datamodules"}
        assert set(re.split(r", *", names)) <= set(importlib.import_module(name).__all__)
