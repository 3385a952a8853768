"""Datamodules whose classes need no Lightning, and whose instances are LightningDataModules."""

from __future__ import annotations

from functools import cache
from types import new_class
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytorch_lightning import LightningDataModule as _Base
else:
    _Base = object


class LightningData(_Base):
    """Base of datamodules: Lightning is imported when the first instance is made, not the class.

    Importing it takes three times as long as PyTorch, and the options of a datamodule, which are
    the arguments of its constructor, are told without an instance. An instance of a subclass is a
    ``LightningDataModule`` as well, which any Trainer takes; constructors call
    ``super().__init__()``.
    """

    def __new__(cls, *arguments: Any, **options: Any) -> LightningData:
        made: LightningData = object.__new__(_add_lightning(cls))  # type: ignore[arg-type]
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        """By the class that is declared: the one with Lightning has its name, but no place."""
        declared = getattr(type(self), "_declared", type(self))
        return _restore, (declared,), self.__dict__


@cache
def _add_lightning(cls: type) -> type:
    """``cls`` itself where it is a LightningDataModule, else a class of its name that is both."""
    from pytorch_lightning import LightningDataModule

    if issubclass(cls, LightningDataModule):
        return cls
    same = {name: getattr(cls, name) for name in ("__module__", "__qualname__", "__doc__")}
    bases = (cls, LightningDataModule)
    return new_class(cls.__name__, bases, exec_body=lambda body: body.update(same, _declared=cls))


def _restore(cls: type) -> object:
    """An instance without its attributes, as pickle wants one."""
    return object.__new__(_add_lightning(cls))
