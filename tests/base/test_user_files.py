"""A user's files as modules: one class each, in this process and in those that are spawned."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import pytest
import torch
from torch.utils.data import ConcatDataset, DataLoader

from fi.base.user_classes import find_class
from fi.base.user_files import importable_name, spell_path, spelled_path
from fi.datamodules import RandomEvents

DATA = """
import torch
from torch.utils.data import Dataset

class Squares(Dataset):
    power = 2

    def __len__(self):
        return 6

    def __getitem__(self, number):
        return torch.tensor(number**self.power)
"""


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of one name in two folders, neither of them in the path."""
    for folder, power in (("a", 2), ("b", 3)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "numbers_of_mine.py").write_text(DATA.replace("= 2", f"= {power}"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_loader_whose_workers_are_spawned(folders: Path, workers: int) -> None:
    """Datasets of two users' files of one name, and one of ours."""
    squares = find_class("./a/numbers_of_mine.py:Squares", "datamodules")()
    cubes = find_class("./b/numbers_of_mine.py:Squares", "datamodules")()
    ours = RandomEvents(samples=3).test_dataloader().dataset
    together = ConcatDataset([squares, cubes, ours])
    loader = DataLoader(
        together, batch_size=None, num_workers=workers, multiprocessing_context="spawn"
    )
    *numbers, one, two, three = loader
    assert [int(number) for number in numbers] == [0, 1, 4, 9, 16, 25, 0, 1, 8, 27, 64, 125]
    for (events, label), (wanted, right) in zip(
        (one, two, three), map(ours.__getitem__, range(3)), strict=True
    ):
        assert torch.equal(events, wanted)
        assert label == right


def test_a_file_in_the_path_has_its_plain_name(
    folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(folders / "a"))
    monkeypatch.delitem(sys.modules, "numbers_of_mine", raising=False)
    squares = find_class("./a/numbers_of_mine.py:Squares", "datamodules")
    assert squares.__module__ == "numbers_of_mine"
    assert squares is find_class("numbers_of_mine.Squares", "datamodules")
    assert find_class("b/numbers_of_mine.py:Squares", "datamodules") is not squares
    del sys.modules["numbers_of_mine"]


def test_a_file_is_run_once_and_again_where_it_has_changed(folders: Path) -> None:
    file = folders / "a" / "numbers_of_mine.py"
    first = find_class(f"{file}:Squares", "datamodules")
    (folders / "link.py").symlink_to(file)
    assert find_class("./a/../link.py:Squares", "datamodules") is first
    assert pickle.loads(pickle.dumps(first)) is first
    file.write_text(DATA.replace("= 2", "= 10"))
    assert find_class(f"{file}:Squares", "datamodules").power == 10  # type: ignore[attr-defined]


def test_a_file_of_a_package_in_the_path_can_import_its_neighbours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "nets_of_mine"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "parts.py").write_text("class Part:\n    pass\n")
    (package / "net.py").write_text("from .parts import Part\nclass Net(Part):\n    pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    net = find_class(f"{package}/net.py:Net", "models")
    assert net is find_class("nets_of_mine.net.Net", "models")
    assert importable_name(package / "__init__.py") == "nets_of_mine"


@pytest.mark.parametrize(
    "text", ["/home/me/my_net.py", "/tmp/ä ö/net-2.py", "C:\\nets\\a.b.py", "_2f.py"]
)
def test_a_spelled_path_is_an_identifier_and_has_an_inverse(text: str) -> None:
    assert spell_path(Path(text)).isidentifier()
    assert spelled_path(spell_path(Path(text))) == text


@pytest.mark.parametrize("stem", ["random", "torch", "my.net", "__main__"])
def test_a_name_that_is_taken_or_no_name_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stem: str
) -> None:
    (tmp_path / f"{stem}.py").write_text("class Net:\n    pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert importable_name(tmp_path / f"{stem}.py") is None
    assert find_class(f"{tmp_path}/{stem}.py:Net", "models").__module__.startswith("fi.base.user")
