"""A device that is none: tensors with CPU data that behave as those of a GPU where devices meet.

``OnDevice`` says that it is on ``cuda:0``; its words are in a CPU tensor, on which everything is
computed. What CUDA refuses is refused: an operation on tensors of both devices (but for a single
number, and for indices), ``numpy()`` of one that is on the device. What CUDA rounds otherwise is
rounded so: a division by a number is a product with its reciprocal. Lightning moves modules and
batches as ever; for ``nn.Module`` that is emulated, which replaces words instead of their memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from pytorch_lightning.accelerators import CPUAccelerator
from pytorch_lightning.strategies import SingleDeviceStrategy
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = torch.device("cuda:0")
#: Where tensors of both devices may meet: indices may be on the CPU, and copies cross over.
_INDEXED = {torch.Tensor.__getitem__, torch.Tensor.__setitem__, torch.Tensor.copy_}
_DIVISIONS = {torch.Tensor.div, torch.Tensor.true_divide, torch.div, torch.true_divide}
_DIVISIONS |= {torch.Tensor.__truediv__, torch.Tensor.div_, torch.Tensor.__itruediv__}
_OFF_DEVICE = {torch.Tensor.numpy, torch.Tensor.__array__}
_IDENTITY = {torch.Tensor.__hash__, torch.Tensor.__reduce_ex__, torch.Tensor.__repr__}


class OnDevice(Tensor):
    """A tensor that is on the device; ``inner`` has its words."""

    inner: Tensor

    @staticmethod
    def of(inner: Tensor) -> OnDevice:
        with torch._C.DisableTorchFunction():
            shell = Tensor._make_subclass(OnDevice, torch.empty(0))
        shell.inner = inner
        return shell

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return run(func, args, kwargs or {})


def run(func: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> Any:
    """What a GPU makes of a call, of tensors some of which are on it."""
    name = getattr(func, "__name__", str(func))
    owner = getattr(func, "__self__", None)
    if name == "__get__" and owner in (Tensor.device, Tensor.is_cuda):
        return DEVICE if owner is Tensor.device else True
    if name == "__get__" and owner is Tensor.is_cpu:
        return False
    if func in _OFF_DEVICE:
        raise TypeError("can't convert cuda:0 device type tensor to numpy")
    if name == "__set__" and owner is Tensor.data:
        args[0].inner = unwrap(args[1])
        return None
    if func in (Tensor.to, Tensor.cuda, Tensor.cpu):
        return move(func, args, kwargs)
    if func is Tensor.new_tensor:
        return OnDevice.of(torch.tensor(*unwrap(args[1:]), **without_device(kwargs)))
    check_devices(func, name, args, kwargs)
    inner = unwrap(args)
    if func in _DIVISIONS and not kwargs and is_floating(inner[0]) and is_number(inner[1]):
        inner = (inner[0], torch.tensor(1.0, dtype=inner[0].dtype) / inner[1])
        with torch._C.DisableTorchFunction():
            found = (inner[0].mul_ if name.endswith(("_", "__itruediv__")) else inner[0].mul)(
                inner[1]
            )
    else:
        on_cpu = goes_to_cpu(kwargs)
        with torch._C.DisableTorchFunction():
            found = func(*inner, **without_device(unwrap(kwargs)))
        if on_cpu:
            return found
    return wrap(found, args)


def is_floating(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def is_number(value: Any) -> bool:
    """Whether CUDA takes it for a number: one of Python's, or a CPU tensor without axes."""
    return isinstance(value, (int, float))


def check_devices(func: Any, name: str, args: Any, kwargs: dict[str, Any]) -> None:
    """Raise what CUDA raises where a tensor of the CPU is among those of the device."""
    if func in _INDEXED:
        values = args[2:] if func is torch.Tensor.__setitem__ else ()
        leaves = tree_leaves(values)
        if not isinstance(args[0], OnDevice) and any(isinstance(v, OnDevice) for v in leaves):
            raise RuntimeError(f"{name}: values on cuda:0 are put into a tensor on cpu")
        indices = tree_leaves(args[1]) if func is not torch.Tensor.copy_ else []
        if not isinstance(args[0], OnDevice) and any(isinstance(i, OnDevice) for i in indices):
            raise RuntimeError("indices should be either on cpu or on the same device (cpu)")
    else:
        leaves = tree_leaves((args, kwargs))
    tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    strangers = [t for t in tensors if not isinstance(t, OnDevice) and t.ndim > 0]
    mixed = strangers and (func in _INDEXED or len(strangers) < len(tensors))
    if (
        mixed
        and (func not in _INDEXED or isinstance(args[0], OnDevice))
        and func is not Tensor.copy_
    ):
        raise RuntimeError(
            f"Expected all tensors to be on the same device, but found at least two devices, "
            f"cuda:0 and cpu! ({name})"
        )


def goes_to_cpu(kwargs: dict[str, Any]) -> bool:
    device = kwargs.get("device")
    return device is not None and torch.device(device).type == "cpu"


def without_device(kwargs: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in kwargs.items() if key not in ("device", "pin_memory")}


def move(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """``Tensor.to`` and its like, of tensors of any device to any device."""
    tensor, *rest = args
    here = isinstance(tensor, OnDevice)
    there, others = here, []
    for value in [*rest, *(kwargs[key] for key in ("device", "other") if key in kwargs)]:
        if isinstance(value, (str, torch.device)):
            there = torch.device(value).type == "cuda"
        elif isinstance(value, Tensor):
            there = isinstance(value, OnDevice)
            others.append(unwrap(value).dtype)
        elif isinstance(value, torch.dtype):
            others.append(value)
    if func in (Tensor.cuda, Tensor.cpu):
        there, others = func is Tensor.cuda, []
    if "dtype" in kwargs and kwargs["dtype"] is not None:
        others.append(kwargs["dtype"])
    inner = unwrap(tensor)
    with torch._C.DisableTorchFunction():
        copy = bool(kwargs.get("copy")) or here != there
        found = inner.to(others[0], copy=copy) if others else inner.clone() if copy else inner
    if here == there and found is inner:
        return tensor
    return OnDevice.of(found) if there else found


def unwrap(value: Any) -> Any:
    def one(leaf: Any) -> Any:
        return leaf.inner if isinstance(leaf, OnDevice) else leaf

    return tree_map(one, value)


def wrap(found: Any, args: Any) -> Any:
    """The result on the device; one that was changed in place is the object that it was."""
    if not any(isinstance(leaf, Tensor) for leaf in tree_leaves(found)):
        return found
    known = {id(unwrap(leaf)): leaf for leaf in tree_leaves(args) if isinstance(leaf, Tensor)}

    def one(leaf: Any) -> Any:
        if type(leaf) not in (Tensor, nn.Parameter):
            return leaf
        return known[id(leaf)] if id(leaf) in known else OnDevice.of(leaf)

    return tree_map(one, found)


class _Factories(TorchFunctionMode):
    """Calls that make tensors on the device, or move them there, without any that is there."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        leaves = tree_leaves((args, kwargs))
        if any(isinstance(leaf, OnDevice) for leaf in leaves):
            return run(func, args, kwargs)
        device = kwargs.get("device")
        if func in (Tensor.to, Tensor.cuda):
            return move(func, args, kwargs)
        if device is not None and torch.device(device).type == "cuda":
            return OnDevice.of(func(*args, **without_device(kwargs)))
        return func(*args, **kwargs)


_moved: list[dict[int, tuple[Tensor, Tensor]]] = []


def _apply(module: nn.Module, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
    """``nn.Module._apply`` with words that are replaced; tied ones stay tied."""
    outermost = not _moved
    if outermost:
        _moved.append({})
    try:
        for child in module.children() if recurse else ():
            child._apply(fn)
        for words in (module._parameters, module._buffers):
            for key, word in words.items():
                if word is not None:
                    words[key] = _move_word(word, fn)  # type: ignore[assignment]  # what it was
    finally:
        if outermost:
            _moved.clear()
    return module


def _move_word(word: Tensor, fn: Callable[[Tensor], Tensor]) -> Tensor:
    """A parameter or buffer elsewhere, once in a move."""
    if id(word) not in _moved[0]:
        is_parameter = isinstance(word, nn.Parameter)
        new = fn(word.data if is_parameter else word)
        found = nn.Parameter(new, word.requires_grad) if is_parameter else new
        _moved[0][id(word)] = (found, word)
        _moved[0][id(found)] = (found, word)  # a module that is in two places comes twice
    return _moved[0][id(word)][0]


class FakeAccelerator(CPUAccelerator):
    """Lightning's, of the device."""

    def setup_device(self, device: torch.device) -> None:
        assert device.type == "cuda"


def make_fake_trainer(*args: Any, **kwargs: Any) -> pl.Trainer:
    """The Trainer of a campaign, on the device."""
    hardware, callbacks = args[:2]
    strategy = SingleDeviceStrategy(device=DEVICE, accelerator=FakeAccelerator())
    return pl.Trainer(
        strategy=strategy,
        precision=hardware.precision,
        callbacks=list(callbacks),
        plugins=[LightningEnvironment()],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )


@contextmanager
def fake_device(memory: int = 1 << 30) -> Iterator[None]:
    """Campaigns that are made and run within are on the device, which has so much memory."""
    with (
        patch("fi.campaign.runner.make_trainer", make_fake_trainer),
        patch("torch.cuda.mem_get_info", lambda device=None: (memory, memory)),
        patch("torch.cuda.get_device_name", lambda device=None: "none"),
        patch("torch.cuda.synchronize", lambda device=None: None),
        patch.object(nn.Module, "_apply", _apply),
        _Factories(),
    ):
        yield
