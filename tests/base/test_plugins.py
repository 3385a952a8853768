"""Classes by name, also beside folders of the same names."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from places import ROOT

from fi.base.errors import UserError
from fi.base.user_classes import find_class, list_own_classes, resolve_config
from fi.models import CSNN
from fi.network.stages import SpikingNetwork


@pytest.fixture
def no_models(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No ``models`` is imported yet, nor after the test."""
    for name in [name for name in sys.modules if name.split(".")[0] == "models"]:
        monkeypatch.delitem(sys.modules, name)
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "models"]:
        del sys.modules[name]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_models: None) -> Path:
    """A folder first in the path that has a ``models`` package of its own."""
    package = tmp_path / "models"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "mynet.py").write_text("class MyNet:\n    pass\n")
    (package / "broken.py").write_text("import nothing_of_that_name\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_our_own_classes_are_known() -> None:
    networks = {"CSNN", "MLP", "NMNIST", "SEWResNet", "SHD", "SpikingVGG"}
    assert set(list_own_classes("models")) == networks
    recorded = {"DVSGesture", "NMNIST", "SHD"}
    assert set(list_own_classes("datamodules")) == {*recorded, "RandomEvents", "SaccadeMNIST"}


def test_a_bare_name_is_ours_and_a_dotted_one_the_users(home: Path) -> None:
    assert issubclass(find_class("CSNN", "models"), SpikingNetwork)
    assert find_class("CSNN", "models").__module__ == "fi.models.csnn"
    found = find_class("models.mynet.MyNet", "models")
    assert Path(sys.modules[found.__module__].__file__ or "") == home / "models" / "mynet.py"


@pytest.mark.parametrize("name", ["models.csnn.CSNN", "models.CSNN", "fi.models.csnn.CSNN"])
def test_every_spelling_of_our_own_class_is_one_class(
    name: str, monkeypatch: pytest.MonkeyPatch, no_models: None
) -> None:
    monkeypatch.syspath_prepend(str(ROOT))  # as in the root of the repository
    assert find_class(name, "models") is find_class("CSNN", "models") is CSNN
    assert find_class(f"{ROOT}/models/csnn.py:CSNN", "models") is CSNN


def test_ours_is_meant_where_there_are_no_folders_of_these_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_models: None
) -> None:
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path not in ("", str(ROOT))])
    monkeypatch.chdir(tmp_path)
    assert find_class("models.csnn.CSNN", "models") is CSNN


def test_a_file_and_a_class(home: Path) -> None:
    assert find_class("./models/mynet.py:MyNet", "models").__name__ == "MyNet"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "Nothing",
            "unknown model 'Nothing'; known: CSNN, MLP, NMNIST, SEWResNet, SHD, SpikingVGG",
        ),
        ("models.mynet.Nothing", "no class 'Nothing' there; classes: MyNet"),
        ("models.nothing.MyNet", "cannot import 'models.nothing': ModuleNotFoundError"),
        ("models.broken.MyNet", "No module named 'nothing_of_that_name'"),
        ("./models/nothing.py:MyNet", "no such file: ./models/nothing.py"),
        ("./models/broken.py:MyNet", "cannot import ./models/broken.py"),
        ("./models/mynet.py:Nothing", "no class 'Nothing' there; classes: MyNet"),
    ],
)
def test_unknown_names(home: Path, name: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        find_class(name, "models")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_our_presets_have_bare_names(home: Path) -> None:
    assert Path(resolve_config("nmnist")).read_text().count("model: NMNIST") == 1
    assert resolve_config("mine") == "mine"
    assert resolve_config("configs/nmnist.yaml") == "configs/nmnist.yaml"
    (home / "nmnist").touch()
    assert resolve_config("nmnist") == "nmnist"  # what is there wins
