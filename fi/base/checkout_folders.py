"""In a checkout ``models``, ``datamodules``, ``callbacks`` and ``configs`` stand beside ``fi``.

They are one namespace with it: ``fi.models`` and so on. A wheel has them inside the package, where
Python finds them by itself. In a checkout, installed or not, a finder answers for these four names
and for no other:

- Appending the checkout to ``fi.__path__`` would let in all that stands there: ``fi.tests``, and
  ``fi.fi``, a second copy of everything.
- The finder comes before those of Python: where another checkout is the one that is installed, its
  finder would give us the other's ``fi.models``.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

_PACKAGE = Path(__file__).resolve().parents[1]

#: The folders that are ``fi.models`` and so on, wherever they stand.
FOLDERS = ("models", "datamodules", "callbacks", "configs")


class CheckoutFinder(MetaPathFinder):
    """Finds ``fi.models`` and so on beside ``fi``.

    Args:
        root: the checkout.
    """

    def __init__(self, root: Path) -> None:
        self.root = str(root)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Where the package ``fullname`` is; ``None`` for all but the four names."""
        parent, _, name = fullname.rpartition(".")
        if parent != "fi" or name not in FOLDERS:
            return None
        return PathFinder.find_spec(fullname, [self.root])


def install_finder() -> None:
    """Make ``fi.models`` and so on importable where this is a checkout."""
    if not (_PACKAGE / "models" / "__init__.py").is_file():
        sys.meta_path.insert(0, CheckoutFinder(_PACKAGE.parent))


def folder_of(name: str) -> Path:
    """The folder of ``fi.models`` and so on; nothing of it is imported."""
    spec = find_spec(f"fi.{name}")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError(f"fi.{name} is missing: the installation of faulty-snn is not complete")
    return Path(next(iter(spec.submodule_search_locations))).resolve()
