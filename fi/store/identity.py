"""Hashes that say whether two campaigns are the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor, nn

from fi.faults.csv_row import fault_list_parts
from fi.faults.fault import Fault


def text_hash(text: str) -> str:
    """SHA-256 of a text, hexadecimal."""
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


def json_hash(value: Any) -> str:
    """Hash of a value's canonical JSON."""
    return text_hash(json.dumps(value, sort_keys=True, separators=(",", ":")))


def tensors_hash(tensors: Iterable[Tensor]) -> str:
    """Hash of the types, shapes and bits of ``tensors``."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(f"{tensor.dtype}{list(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def weights_hash(network: nn.Module) -> str:
    """Hash of every parameter and persistent buffer, names included."""
    state = network.state_dict()
    return text_hash("\n".join(state) + tensors_hash(state.values()))


def network_hash(network: nn.Module) -> str:
    """Hash of the structure: class, modules and their settings, without the weights."""
    return text_hash(f"{type(network).__name__}\n{network!r}")


def faults_hash(faults: Sequence[Fault]) -> str:
    """Hash of a fault list: SHA-256 of the file that this tool writes of it."""
    digest = hashlib.sha256()
    for part in fault_list_parts(faults):
        digest.update(part.encode())
    return digest.hexdigest()
