"""An HDF5 file is read by a process of its own: of a damaged one the library may hang, or crash."""

from __future__ import annotations

import io
import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO

import numpy as np

from fi.base.errors import UserError
from fi.exchange.hdf5_tree import Tree, read_values

#: Processor time of the process: seconds, and bytes that are read in one more.
_SECONDS, _SPEED = 4, 20_000_000
#: Memory beside that of the values: Python, the libraries, and what is unpacked.
_OWN_MEMORY = 2 << 30
_REFUSED = 3
#: Where the package is, for the process.
_ROOT = Path(__file__).resolve().parents[2]


def read_tree(path: Path, most_bytes: int) -> Tree:
    """All values of an HDF5 file: numbers as arrays, texts as ``str``, groups as dicts.

    Args:
        path: of the file.
        most_bytes: that all of its values may take in memory.

    Raises:
        UserError: it is no such file, is damaged, or takes more memory.
    """
    if not path.is_file():
        raise UserError(f"--model {path}: no such file")
    known = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    with TemporaryDirectory() as folder:
        values = Path(folder, "values")
        command = [sys.executable, "-m", __name__, str(path), str(most_bytes), str(values)]
        done = subprocess.run(
            command,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(known)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
        )
        if done.returncode == _REFUSED:
            raise UserError(f"{path}: {done.stderr.strip()}")
        if done.returncode:
            raise UserError(f"{path}: it is damaged: reading it did not end (h5py)")
        with values.open("rb") as file:
            tree: Tree = _take(json.loads(file.readline()), file)
            return tree


def main(path: str, most_bytes: str, target: str) -> int:
    """What the process does: read ``path`` and write its values to ``target``."""
    _limit(Path(path).stat().st_size, int(most_bytes))
    try:
        tree = read_values(Path(path), int(most_bytes))
    except UserError as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return _REFUSED
    arrays = io.BytesIO()
    layout = json.dumps(_give(tree, arrays))
    with open(target, "wb") as file:
        file.write(f"{layout}\n".encode())
        file.write(arrays.getbuffer())
    return 0


def _limit(size: int, most_bytes: int) -> None:
    """Take no more processor time and memory than such a file needs."""
    wanted = {
        resource.RLIMIT_CPU: _SECONDS + size // _SPEED,
        resource.RLIMIT_AS: 3 * most_bytes + _OWN_MEMORY,
        resource.RLIMIT_CORE: 0,
    }
    for kind, limit in wanted.items():
        _, hard = resource.getrlimit(kind)
        if hard != resource.RLIM_INFINITY:
            limit = min(limit, hard)
        resource.setrlimit(kind, (limit, hard))


def _give(value: Any, arrays: BinaryIO) -> Any:
    """A value as JSON; of arrays of numbers the place."""
    if isinstance(value, dict):
        return {"group": {name: _give(part, arrays) for name, part in value.items()}}
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
        np.lib.format.write_array(arrays, value, allow_pickle=False)
        return {"array": True}
    return {"text": value.tolist() if isinstance(value, np.ndarray) else str(value)}


def _take(said: Any, file: BinaryIO) -> Any:
    """The value of which ``_give`` has made ``said``."""
    if "group" in said:
        return {name: _take(part, file) for name, part in said["group"].items()}
    if "array" in said:
        return np.lib.format.read_array(file, allow_pickle=False)
    text = said["text"]
    return text if isinstance(text, str) else np.array(text, dtype=object)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
