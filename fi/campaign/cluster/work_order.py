"""What a worker of a cluster is told of a campaign, and what it must find to take part in it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn

from fi.campaign.cluster.packing import pack, unpack
from fi.campaign.running.group_runs import GroupRuns
from fi.campaign.settings import Hardware, Settings
from fi.campaign.subject import Subject
from fi.faults.groups.element_maps import WORD_MAPS
from fi.faults.groups.user_maps import register_map
from fi.faults.modelling.class_sources import is_ours
from fi.faults.models import FAULT_MODELS, register_model

#: Makes the subject of a campaign anew, in another process.
Remake = Callable[[], Subject]
#: Makes the test runs, of a Trainer, an engine, the subject and its golden run.
MakeRuns = Callable[..., GroupRuns]


@dataclass(frozen=True)
class WorkOrder:
    """A campaign, for a worker.

    Attributes:
        remake: the packed ``Remake``.
        classes: the user's fault models and maps, packed.
        make_runs: makes its test runs.
        engine: the name of the engine, as the client has chosen it.
        hardware: one device of the worker's.
        memory, threads: as ``Settings`` has them; ``None`` is what the worker has.
        steps: of the test set.
        identity: hashes that the worker's network, data and golden run must have.
        token: names the order.
    """

    remake: bytes
    classes: bytes
    make_runs: MakeRuns
    engine: str
    hardware: Hardware
    memory: int | None
    threads: int | None
    steps: int
    identity: Mapping[str, str]
    token: str = field(default_factory=lambda: uuid.uuid4().hex)

    @classmethod
    def make(
        cls,
        remake: Remake,
        make_runs: MakeRuns,
        engine: str,
        settings: Settings,
        steps: int,
        identity: Mapping[str, str],
    ) -> WorkOrder:
        """The order for the workers; ``UserError`` where something of it cannot be sent."""
        return cls(
            pack(remake, "the network or its data"),
            pack(_own_classes(), "a fault model or a map of words"),
            make_runs,
            engine,
            replace(settings.hardware, devices=1, num_nodes=1, strategy="auto"),
            settings.memory,
            settings.threads,
            steps,
            identity,
        )

    def make_subject(self) -> Subject:
        """The network and its data, in the process of the worker."""
        models, maps = unpack(self.classes)
        for model in models:
            register_model(model)
        for kind in maps:
            register_map(kind)
        subject: Subject = unpack(self.remake)()
        subject.steps = self.steps
        return subject


def _own_classes() -> tuple[list[type], list[type]]:
    """The fault models and the maps of words that are the user's."""
    models: Collection[type] = FAULT_MODELS.values()
    maps: Collection[type] = WORD_MAPS.values()
    own = [[kind for kind in kinds if not is_ours(kind)] for kinds in (models, maps)]
    return own[0], own[1]


@dataclass(frozen=True)
class RemadeSubject:
    """A ``Remake`` that takes the network and the data along.

    Args:
        parts: the network as it was given and the data, packed.
        options: of the subject, by name.
    """

    parts: bytes
    options: Mapping[str, Any]

    @classmethod
    def make(cls, network: nn.Module, data: Any, options: Mapping[str, Any]) -> RemadeSubject:
        """Of a network that no subject has been made of yet."""
        return cls(pack((network, data), f"{type(network).__name__} or its data"), dict(options))

    def __call__(self) -> Subject:
        network, data = unpack(self.parts)
        return Subject(network, data, **self.options)


@dataclass(frozen=True)
class Prepared:
    """What a worker says when it has made its golden run.

    Attributes:
        host: its machine.
        threads: that it computes with.
        golden_seconds: that the golden run took.
        differing: in what its campaign is another one; it takes no part then.
    """

    host: str
    threads: int
    golden_seconds: float
    differing: tuple[str, ...]

    def explain(self) -> str:
        """Why the worker is refused, and what to do."""
        if self.differing != ("golden",):
            return (
                f"it has another {', '.join(self.differing)}: the files of network, weights and "
                "data must be the same on every machine, and the packages of one version"
            )
        return (
            "the same network gives other golden scores there, as another kind of processor, or "
            "another number of threads, rounds otherwise: take workers of one kind "
            "(--threads 1 everywhere; ATEN_CPU_CAPABILITY=avx2, MKL_CBWR=AVX2 and "
            "ONEDNN_MAX_CPU_ISA=AVX2 for the command and all workers), or give each kind its "
            "own --shard"
        )
