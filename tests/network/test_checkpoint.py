"""Weights from files: everything accounted for, nothing executed."""

from __future__ import annotations

import pickle
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from small_networks import SmallLinear, small
from torch import Tensor

from fi.base.errors import UserError
from fi.network.checkpoint import load_checkpoint
from fi.store.identity import weights_hash

State = dict[str, Tensor]


def saved(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state},
        lambda state: {"state_dict": {f"network.{k}": v for k, v in state.items()}},
        lambda state: {k: v for k, v in state.items() if "graded" not in k},
        lambda state: state | {"lif1.reset_mechanism_val": torch.tensor(0)},
    ],
)
def test_state_dicts_and_lightning_checkpoints_load(
    tmp_path: Path, wrap: Callable[[State], Any]
) -> None:
    wanted, network = small(SmallLinear, seed=5), small(SmallLinear, seed=6)
    load_checkpoint(network, saved(tmp_path / "a.pt", wrap(wanted.state_dict())))
    assert weights_hash(network) == weights_hash(wanted)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda s: {k: v for k, v in s.items() if k != "fc1.bias"}, "missing fc1.bias"),
        (lambda s: s | {"fc9.bias": torch.ones(2)}, "unexpected fc9.bias"),
        (lambda s: s | {"fc1.bias": torch.ones(9)}, r"fc1.bias is \[9\] in the file and \[8\]"),
        (lambda s: s | {"fc1.bias": torch.full((8,), float("nan"))}, "values that are not finite"),
        (lambda s: s | {"fc1.bias": 3}, "'fc1.bias' is a int"),
        (lambda s: [1, 2], "holds a list"),
        (lambda s: {}, "holds a dict"),
    ],
)
def test_what_does_not_fit_leaves_the_network_alone(
    tmp_path: Path, spoil: Callable[[State], Any], message: str
) -> None:
    network = small(SmallLinear)
    before = weights_hash(network)
    path = saved(tmp_path / "a.pt", spoil(small(SmallLinear, seed=5).state_dict()))
    with pytest.raises(UserError, match=message) as error:
        load_checkpoint(network, path)
    assert weights_hash(network) == before
    assert "\n" not in str(error.value)


def test_files_that_are_no_checkpoint(tmp_path: Path) -> None:
    network, path = small(SmallLinear), tmp_path / "a.pt"
    whole = saved(path, network.state_dict()).read_bytes()
    with pytest.raises(UserError, match="no such file"):
        load_checkpoint(network, tmp_path / "b.pt")
    for content in (b"", b"hello", whole[:50], whole[: len(whole) // 2], whole[100:]):
        path.write_bytes(content)
        with pytest.raises(UserError, match="--checkpoint"):
            load_checkpoint(network, path)


class Mischief:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("save", [torch.save, lambda x, p: p.write_bytes(pickle.dumps(x))])
def test_nothing_in_a_file_is_executed(tmp_path: Path, save: Callable[[Any, Path], Any]) -> None:
    target = tmp_path / "touched"
    save({"fc1.bias": Mischief(target)}, tmp_path / "a.pt")
    with pytest.raises(UserError, match="not a file of weights alone"):
        load_checkpoint(small(SmallLinear), tmp_path / "a.pt")
    assert not target.exists()


def _adam(state: State) -> dict[str, Any]:
    words = [torch.nn.Parameter(value.float()) for value in state.values()]
    return torch.optim.Adam(words).state_dict()


@pytest.mark.parametrize(
    ("wrap", "said"),
    [
        (lambda s: {f"module.{k}": v for k, v in s.items()}, "behind 'module.'"),
        (lambda s: {f"model._orig_mod.{k}": v for k, v in s.items()}, "'model._orig_mod.'"),
        (lambda s: {f"my.own.{k}": v for k, v in s.items()}, "'my.own.'"),
        (lambda s: {k.replace(".", "._orig_mod."): v for k, v in s.items()}, "wrappers"),
        (
            lambda s: {"criterion.weight": torch.ones(4), **{f"net.{k}": v for k, v in s.items()}},
            "left out is criterion.weight",
        ),
        (lambda s: s | {"lif1.mem": torch.zeros(8)}, "states of neurons are left out: lif1.mem"),
        (
            lambda s: {"epoch": 3, "model_state_dict": s, "optimizer": _adam(s), "loss": 0.5},
            "the weights are its 'model_state_dict'",
        ),
        (lambda s: {"best": {"net": s}, "acc": 91.2}, "the weights are its 'best.net'"),
        (
            lambda s: {"state_dict": {f"module.{k}": v for k, v in s.items()}, "epoch": 3},
            "behind 'module.'",
        ),
    ],
)
def test_what_trainings_write_loads_and_a_note_says_how(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    wrap: Callable[[State], Any],
    said: str,
) -> None:
    wanted, network = small(SmallLinear, seed=5), small(SmallLinear, seed=6)
    load_checkpoint(network, saved(tmp_path / "a.pt", wrap(wanted.state_dict())))
    assert weights_hash(network) == weights_hash(wanted)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("note: --checkpoint")
    assert said in line


def test_a_wrapped_network_takes_the_weights_of_the_bare_one(tmp_path: Path) -> None:
    trained = small(SmallLinear, seed=5)
    wrapped = torch.nn.DataParallel(small(SmallLinear, seed=6))
    load_checkpoint(wrapped, saved(tmp_path / "a.pt", trained.state_dict()))
    assert weights_hash(wrapped.module) == weights_hash(trained)


@pytest.mark.parametrize(
    ("wrap", "message"),
    [
        (
            lambda s: {f"{n}.{k}": v for n in ("student", "teacher") for k, v in s.items()},
            r"behind student\. and teacher\.",
        ),
        (lambda s: {"model": s, "ema": s}, "several state dicts that may be meant, model, ema"),
        (
            lambda s: {f"module.{k}": v for k, v in s.items() if k != "fc1.bias"},
            r"does not fit the network: missing fc1\.bias$",
        ),
    ],
)
def test_what_may_mean_several_things_is_refused(
    tmp_path: Path, wrap: Callable[[State], Any], message: str
) -> None:
    network = small(SmallLinear)
    before = weights_hash(network)
    with pytest.raises(UserError, match=message):
        load_checkpoint(network, saved(tmp_path / "a.pt", wrap(network.state_dict())))
    assert weights_hash(network) == before


def test_the_line_that_converts_a_checkpoint_with_classes_in_it_does(tmp_path: Path) -> None:
    trained, network = small(SmallLinear, seed=5), small(SmallLinear, seed=6)
    content = {
        "state_dict": {f"net.{k}": v for k, v in trained.state_dict().items()},
        "hyper_parameters": {"loss": torch.nn.MSELoss()},
    }
    path = saved(tmp_path / "last.ckpt", content)
    with pytest.raises(
        UserError, match=r"would run code of torch\.nn\.modules\.loss\.MSELoss"
    ) as error:
        load_checkpoint(network, path)
    words = shlex.split(str(error.value).partition("converts it: python ")[2])
    subprocess.run([sys.executable, *words], check=True)
    load_checkpoint(network, tmp_path / "last-weights.pt")
    assert weights_hash(network) == weights_hash(trained)
