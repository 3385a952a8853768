"""Where compiled kernels are kept when neither the installation nor the home can be written to.

numba keeps them beside the source or in the user's cache folder; it cannot do without. In a
read-only container with no home that leaves the folder for temporary files.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

_VARIABLE = "NUMBA_CACHE_DIR"


def provide_cache() -> None:
    """Name a folder to numba where it would find none; to be called before kernels are imported."""
    if _VARIABLE in os.environ or any(map(_writable, _numbas_own())):
        return
    os.environ[_VARIABLE] = folder = str(_private_folder())
    if "numba" in sys.modules:  # it has read the environment already
        sys.modules["numba"].config.CACHE_DIR = folder


def _numbas_own() -> tuple[Path, Path]:
    """The folders that numba tries."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    beside = Path(__file__).parents[1] / "engine" / "compiled" / "kernels"
    return beside / "__pycache__", Path(home) / "numba"


def _writable(folder: Path) -> bool:
    """Whether a file can be made in ``folder``, which is made where it is missing."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _private_folder() -> Path:
    """A folder that stays, or, where another user has taken its name, one for this process."""
    user = os.getuid() if hasattr(os, "getuid") else 0
    folder = Path(tempfile.gettempdir()) / f"faulty-snn-kernels-{user}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        known = folder.lstat()
        if known.st_uid == user and not known.st_mode & 0o022 and folder.is_dir():
            return folder
    except OSError:
        pass
    return Path(tempfile.mkdtemp(prefix="faulty-snn-kernels-"))
