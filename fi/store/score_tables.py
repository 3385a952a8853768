"""Saved score tensors and labels as CSV files."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from fi.base.text_files import FileError, csv_text, write_text
from fi.store.campaign_reader import class_name

#: Folders of ``pt/`` whose tensors are converted, and the number of their dimensions.
_KINDS = {"clean": 2, "label": 1, "faulty": 2}


def convert_scores(model: str, batch_size: int, output: str = "output") -> int:
    """Convert ``output/<model>/pt/.../batch_size_<B>/*.pt`` to the same layout under ``csv/``.

    Scores ``[batch, classes]`` become one row a sample and one column a class (``class_0``, ...),
    with as many digits as the tensor holds; labels ``[batch]`` become one column ``label``.

    Returns:
        The number of files written.

    Raises:
        FileError: there are no tensors of that batch size, or a file holds no such tensor.
    """
    files = list(_tensor_files(Path(output) / class_name(model), batch_size))
    for source, target, dimensions in files:
        text = tensor_csv(load_tensor(source, dimensions))
        try:
            write_text(target, text)
        except OSError as problem:
            raise FileError(f"{target} cannot be written: {problem.strerror}") from problem
    return len(files)


def _tensor_files(folder: Path, batch_size: int) -> Iterator[tuple[Path, Path, int]]:
    """Source, target and dimensions of every tensor of that batch size."""
    clean = folder / "pt" / "clean"
    if not (clean / f"batch_size_{batch_size}").is_dir():
        known = sorted(p.name.removeprefix("batch_size_") for p in clean.glob("batch_size_*"))
        raise FileError(
            f"no scores of batch size {batch_size} in {clean}; "
            f"batch sizes there: {', '.join(known) or 'none'}"
        )
    for kind, dimensions in _KINDS.items():
        place = Path(kind) / f"batch_size_{batch_size}"
        for source in sorted((folder / "pt" / place).glob("*.pt")):
            yield source, folder / "csv" / place / f"{source.stem}.csv", dimensions


def load_tensor(path: Path, dimensions: int) -> Tensor:
    """The tensor in ``path``; ``FileError`` where it is none of so many ``dimensions``."""
    try:
        tensor = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as problem:
        raise FileError(f"{path}: no tensor can be loaded: {type(problem).__name__}") from problem
    if not isinstance(tensor, Tensor) or tensor.dim() != dimensions:
        found = tuple(tensor.shape) if isinstance(tensor, Tensor) else type(tensor).__name__
        shape = "[batch, classes]" if dimensions == 2 else "[batch]"
        raise FileError(f"{path}: found {found}; allowed: a tensor {shape}")
    return tensor


def tensor_csv(tensor: Tensor) -> str:
    """CSV of scores ``[batch, classes]`` or labels ``[batch]``."""
    if tensor.dim() == 1:
        return csv_text([["label"], *([value] for value in tensor.tolist())])
    digits = 17 if tensor.dtype == torch.float64 else 9  # enough to read the same value back
    rows = ([f"{value:.{digits}g}" for value in row] for row in tensor.tolist())
    return csv_text([[f"class_{number}" for number in range(tensor.shape[1])], *rows])
