"""Weights from files: everything accounted for, nothing executed."""

from __future__ import annotations

import pickle
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
