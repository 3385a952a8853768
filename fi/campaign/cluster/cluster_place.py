"""``--cluster``: which Dask cluster, and the connection to it."""

from __future__ import annotations

import importlib
import json
import logging
import os
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from fi.base.errors import UserError, first_line, report_errors
from fi.base.user_code import report_user_code

if TYPE_CHECKING:
    from distributed import Client

_LOCAL = re.compile("local:([0-9]{1,4})")
_ADDRESS = re.compile(r"(tcp|tls|ucx|ws|wss)://\S+:[0-9]+")
#: What a description of a cluster may say.
_KEYS = ("class", "arguments", "workers")
#: Seconds in which a scheduler must answer.
_PATIENCE = 30.0
WANTED = (
    "wanted is local:N, tcp://host:port, a scheduler file, or a YAML file that names a class of "
    "dask_jobqueue or dask_kubernetes"
)


@dataclass(frozen=True)
class Description:
    """A cluster that is to be started.

    Attributes:
        name: of its class, ``dask_jobqueue.SLURMCluster``.
        arguments: of its constructor.
        workers: how many are asked for.
    """

    name: str
    arguments: dict[str, Any]
    workers: int


def check_cluster(given: str) -> str:
    """What ``--cluster`` was given, where it can be a cluster.

    Raises:
        UserError: it cannot, a file cannot be read, or the package is missing.
    """
    where = f"--cluster {given}: "
    if find_spec("distributed") is None:
        raise UserError(f"{where}the package distributed is missing: pip install '.[cluster]'")
    local = _LOCAL.fullmatch(given)
    if local and not int(local[1]):
        raise UserError(f"{where}at least one worker is needed")
    if local or _ADDRESS.fullmatch(given):
        return given
    path = Path(given)
    if not path.is_file():
        raise UserError(f"{where}there is no such file; {WANTED}")
    if path.suffix in (".yaml", ".yml"):
        read_description(path)
    else:
        _read_scheduler_file(path)
    return given


def read_description(path: Path) -> Description:
    """The cluster that a YAML file describes; ``UserError`` where it does not."""
    where = f"--cluster {path}: "
    with report_errors(OSError, ValueError, yaml.YAMLError, prefix=where):
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict) or not isinstance(content.get("class"), str):
        raise UserError(f"{where}it names no class, as class: dask_jobqueue.SLURMCluster")
    if unknown := [str(key) for key in content if key not in _KEYS]:
        raise UserError(f"{where}unknown {', '.join(unknown)}; allowed: {', '.join(_KEYS)}")
    arguments, workers = content.get("arguments") or {}, content.get("workers", 1)
    if not isinstance(arguments, dict):
        raise UserError(f"{where}arguments: wanted are arguments by name, not {arguments!r:.60}")
    if type(workers) is not int or workers < 1:
        raise UserError(f"{where}workers: {workers!r:.60}; allowed is a number above 0")
    return Description(content["class"], arguments, workers)


def _read_scheduler_file(path: Path) -> None:
    """Raise ``UserError`` where no scheduler has written the file."""
    where = f"--cluster {path}: "
    with report_errors(OSError, ValueError, prefix=where):
        content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict) or "address" not in content:
        raise UserError(f"{where}this is no scheduler file: it has no address")


@contextmanager
def connect(given: str) -> Iterator[Client]:
    """A client of the cluster; one that was started for it ends with it.

    Raises:
        UserError: it cannot be started, or no scheduler answers.
    """
    import dask
    from distributed import Client

    # an order may hold a network: that it is large is no news
    large = {"distributed.admin.large-graph-warning-threshold": "1GB"}
    with ExitStack() as held:
        held.enter_context(dask.config.set(large))
        if local := _LOCAL.fullmatch(given):
            place = held.enter_context(_start_local(int(local[1])))
        elif _ADDRESS.fullmatch(given):
            place = given
        elif Path(given).suffix in (".yaml", ".yml"):
            place = held.enter_context(_start_described(read_description(Path(given)), given))
        else:
            place = json.loads(Path(given).read_text(encoding="utf-8"))["address"]
        try:
            client = Client(place, timeout=_PATIENCE, set_as_default=False)
        except (OSError, ValueError) as error:
            text = f"--cluster {given}: no scheduler answers: {first_line(error)}"
            raise UserError(text) from error
        logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # we say it ourselves
        with client:
            yield client


@contextmanager
def _start_local(workers: int) -> Iterator[Any]:
    """Workers on this machine, which share its processors."""
    from distributed import LocalCluster

    threads = max(1, len(os.sched_getaffinity(0)) // workers)
    with _ignoring_interrupts():
        cluster = LocalCluster(
            n_workers=workers,
            threads_per_worker=threads,
            silence_logs=logging.CRITICAL,  # what matters reaches the command, which says it
            dashboard_address="127.0.0.1:0",
        )
    with cluster:
        yield cluster


@contextmanager
def _ignoring_interrupts() -> Iterator[None]:
    """Processes that are started within leave Ctrl-C, which a terminal sends to all, to this one.

    They would end in the middle of a group, each with a traceback.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _start_described(description: Description, given: str) -> Iterator[Any]:
    """The cluster of a YAML file, with its workers asked for."""
    from distributed.deploy.cluster import Cluster

    module, _, name = description.name.rpartition(".")
    with report_user_code(f"--cluster {given}: {description.name}"):
        kind = getattr(importlib.import_module(module), name)
        if not (isinstance(kind, type) and issubclass(kind, Cluster)):
            raise UserError(f"--cluster {given}: {description.name} is no cluster class of Dask")
        cluster = kind(**description.arguments)
    with cluster:
        with report_user_code(f"--cluster {given}: {description.name}.scale"):
            cluster.scale(description.workers)
        yield cluster
