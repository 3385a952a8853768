"""The wheel: what it installs, and that a campaign runs with it where no checkout is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
from places import ROOT

#: What a wheel is built from.
PARTS = (
    "fi",
    "models",
    "datamodules",
    "callbacks",
    "configs",
    "pyproject.toml",
    "README.md",
    "LICENSE",
)
#: Two samples of noise each for a handful of faults.
CAMPAIGN = (
    *("--data", "RandomEvents", "--limit-samples", "4", "--margin", "0.4"),
    *("--accelerator", "cpu", "--quiet"),
)


def run(command: list[str | Path], folder: Path) -> str:
    """What a command prints, run in a folder; it must succeed."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment = {**kept, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy: nothing of an older build gets into it, and none is left here."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for part in PARTS:
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        copy(ROOT / part, source / part)
    options = ["--no-deps", "--no-build-isolation", "--disable-pip-version-check", "--quiet"]
    run([sys.executable, "-m", "pip", "wheel", *options, "--wheel-dir", folder, source], folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment that has the wheel and, by a link, what it depends on.

    This checkout is not among that: a ``.pth`` file in a folder that is linked so is not read.
    """
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    run(
        [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--quiet",
         "--disable-pip-version-check", "--no-compile", "--target", packages, wheel],
        folder,
    )  # fmt: skip
    others = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    (packages / "dependencies.pth").write_text("\n".join(others) + "\n")
    return folder / "bin" / "python"


@pytest.mark.slow
def test_only_fi_is_installed(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.partition("/")[0] for name in names} == {
        "fi",
        f"{'-'.join(wheel.name.split('-')[:2])}.dist-info",
    }
    assert {
        "fi/models/pretrained/CSNN.pt",
        "fi/datamodules/shd.py",
        "fi/callbacks/progress.py",
        "fi/configs/nmnist.yaml",
        "fi/py.typed",
    } <= set(names)


@pytest.mark.slow
def test_a_campaign_runs_with_the_wheel_from_another_folder(python: Path, tmp_path: Path) -> None:
    said = run([python, "-m", "fi.test", "--model", "NMNIST", *CAMPAIGN], tmp_path)
    assert "Results in output/NMNIST/" in said
    (results,) = tmp_path.glob("output/NMNIST/*/results.csv")
    assert len(results.read_text().splitlines()) > 5


@pytest.mark.slow
def test_every_spelling_is_one_class_of_the_wheel(python: Path, tmp_path: Path) -> None:
    code = (
        "from fi.base.user_classes import find_class, resolve_config\n"
        "names = 'CSNN', 'models.csnn.CSNN', 'fi.models.csnn.CSNN'\n"
        "assert len({find_class(name, 'models') for name in names}) == 1\n"
        "print(resolve_config('nmnist'))"
    )
    preset = Path(run([python, "-c", code], tmp_path).strip())
    assert preset.is_relative_to(python.parents[1])
    assert (preset.parent.name, preset.name) == ("configs", "nmnist.yaml")
