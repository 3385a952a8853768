"""Classes by name: our own networks, datamodules and callbacks, and a user's.

A user may run the commands from a folder that has ``models/``, ``datamodules/`` or ``callbacks/``
of its own: ``models.mynet.MyNet`` is the user's then. Ours are ``fi.models`` and so on; without the
``fi.`` they are meant where no such folder but ours is in ``sys.path``. Each class exists once.
"""

from __future__ import annotations

import ast
import importlib
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from fi.base.checkout_folders import FOLDERS, folder_of
from fi.base.errors import UserError
from fi.base.user_code import report_user_code
from fi.base.user_files import import_file

_NOUNS = {
    "models": "model",
    "datamodules": "datamodule",
    "callbacks": "callback",
    "fault models": "fault model",
    "groups": "group",
    "monitors": "monitor",
}

#: A class that defines one of these is a network or a datamodule.
_METHODS = {"models": {"stages", "forward"}, "datamodules": {"test_dataloader"}}


def names_class(given: str) -> bool:
    """Whether a fault model or a group is given by file or dotted path, not by its name.

    >>> names_class("./my_model.py:Drift:0.25"), names_class("scale:0.25")
    (True, False)
    """
    return "." in given.partition(":")[0]


def resolve_config(given: str) -> str:
    """The file that ``--config`` names: a path, or the bare name of one of ours (``nmnist``)."""
    ours = folder_of("configs") / f"{given}.yaml"
    bare = Path(given).name == given and not Path(given).exists()
    return str(ours) if bare and ours.is_file() else given


def list_own_classes(kind: str) -> dict[str, str]:
    """Class name -> module of our networks or datamodules, found without importing them."""
    found: dict[str, tuple[str, ast.ClassDef]] = {}
    for file in sorted(folder_of(kind).glob("*.py")):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                found[node.name] = (file.stem, node)

    def methods(name: str) -> set[str]:
        node = found[name][1]
        return _defined(node).union(*(methods(base) for base in _bases(node) & found.keys()))

    return {
        name: module
        for name, (module, node) in found.items()
        if _METHODS[kind] & methods(name) and "ABC" not in _bases(node)
    }


def _bases(node: ast.ClassDef) -> set[str]:
    return {base.id for base in node.bases if isinstance(base, ast.Name)}


def _defined(node: ast.ClassDef) -> set[str]:
    return {part.name for part in node.body if isinstance(part, ast.FunctionDef)}


def find_class(name: str, kind: str) -> type:
    """The class of a name.

    Args:
        name: a class of our package (``CSNN``), a dotted path (``my_package.MyNet``) or a file and
            a class (``./models/mynet.py:MyNet``).
        kind: ``models`` or ``datamodules``.

    Raises:
        UserError: there is no such class; the message names the known ones.
    """
    found = find_object(name, kind)
    if isinstance(found, type):
        return found
    raise UserError(f"{_NOUNS[kind]} {name!r} is a {type(found).__name__}; wanted is a class")


def find_object(name: str, kind: str) -> Any:
    """What stands under a name: a class, or anything else in a user's module; else ``find_class``.

    Raises:
        UserError: there is nothing of that name; the message says what there is.
    """
    if ".py:" in name:
        return _from_file(name, kind)
    if "." in name:
        return _from_path(name, kind)
    known = list_own_classes(kind)
    if name not in known:
        raise UserError(
            f"unknown {_NOUNS[kind]} {name!r}; known: {', '.join(known)}, "
            "or a dotted path (my_package.MyClass) or a file (./my_file.py:MyClass)"
        )
    return getattr(importlib.import_module(f"fi.{kind}.{known[name]}"), name)


def full_name(module: str) -> str:
    """The name by which to import ``module``: ``fi.models.csnn`` of ``models.csnn`` where ours."""
    top = module.partition(".")[0]
    return f"fi.{module}" if top in FOLDERS and _is_ours(top, module) else module


def _is_ours(top: str, module: str) -> bool:
    """Whether the package ``top`` is one of our folders, or nobody's."""
    spec = find_spec(top)
    if spec is None:
        return True
    if spec.origin is None and find_spec(module) is None:  # a folder of the name, of anything
        return True
    folders = spec.submodule_search_locations or ()
    return folder_of(top) in [Path(folder).resolve() for folder in folders]


def _from_path(name: str, kind: str) -> Any:
    module_name, _, class_name = name.rpartition(".")
    module = _import(
        lambda: importlib.import_module(full_name(module_name)), repr(module_name), name, kind
    )
    return _get_from(module, class_name, name, kind)


def _from_file(name: str, kind: str) -> Any:
    file_name, _, class_name = name.rpartition(":")
    path = Path(file_name).expanduser().resolve()
    if not path.is_file():
        raise UserError(f"{_NOUNS[kind]} {name!r}: no such file: {file_name}")
    module = _import(lambda: import_file(path), file_name, name, kind)
    return _get_from(module, class_name, name, kind)


def _import(load: Callable[[], ModuleType], place: str, name: str, kind: str) -> ModuleType:
    """The module that ``load`` gives; ``UserError`` for whatever it raises."""
    with report_user_code(f"{_NOUNS[kind]} {name!r}: cannot import {place}"):
        return load()


def _get_from(module: ModuleType, attribute: str, name: str, kind: str) -> Any:
    if hasattr(module, attribute):
        return getattr(module, attribute)
    classes = [key for key, value in vars(module).items() if isinstance(value, type)]
    functions = [
        key
        for key, value in vars(module).items()
        if isinstance(value, FunctionType) and value.__module__ == module.__name__
    ]
    known = f"classes: {', '.join(classes) or 'none'}"
    if functions and kind in _METHODS:
        known += f"; functions: {', '.join(functions)}"
    raise UserError(f"{_NOUNS[kind]} {name!r}: no class {attribute!r} there; {known}")
