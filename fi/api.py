"""A campaign from Python: ``fi.Campaign(network, data, faults).run()``."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

from torch import nn

from fi.base.errors import UserError
from fi.base.user_makers import find_maker
from fi.callbacks import standard_callbacks
from fi.campaign import runner
from fi.campaign.cluster.cluster_place import check_cluster
from fi.campaign.cluster.work_order import RemadeSubject
from fi.campaign.fault_source import GivenFaults, make_fault_source
from fi.campaign.settings import Hardware, Settings
from fi.campaign.subject import Subject
from fi.exchange.nir_reader import read_network
from fi.faults.formats.clamps import Clamps
from fi.faults.protection.protection_plan import ProtectionPlan
from fi.network.checkpoint import checkpoint_of, load_checkpoint
from fi.report.result_view import ResultTable
from fi.report.tables import write_table
from fi.sampling.plan import SamplingPlan


class Campaign:
    """A fault-injection campaign on a network and a test set, as ``python -m fi.test`` runs it.

    ``run()`` stores results while it runs, continues what was interrupted, and reports a campaign
    that is finished without running it again.

    Args:
        network: a network with its weights, the name of one of ours, which come trained, or a NIR
            file (``fi.exchange.nir_reader.read_network`` has options).
        data: a datamodule, an iterable of batches ``(events [time, batch, ...], labels [batch])``,
            or a name; the network's own by default.
        faults: a ``SamplingPlan``, an ``IterativePlan``, the name or path of a fault list, or
            the faults themselves; the default plan draws bit flips over the whole network with a
            margin of 1 %.
        samples: take the first so many test samples.
        output: the folder of all results.
        name: of the network, in paths and tables; its class name by default.
        engine, memory, threads: as in ``fi.campaign.Settings``.
        overwrite: run a finished campaign again.
        accelerator, devices, precision: as Lightning's Trainer takes them.
        readout, time_axis, forward, forward_seed, decision_threshold: for a network that is no
            ``SpikingNetwork``, see ``fi.network.foreign.Adapter``; most is found out by a trial.
        batch_axis: of the samples in the events, 1 or 0.
        word_format: of stored words, as float16; another than float32 rounds the network's.
        state_format: of membranes and synaptic currents, rounded after each update.
        clamp: bounds of words and neurons, or the path of a file of them.
        ecc: the code of the memory of weights and parameters, ``secded:32`` or ``parity:32``.
        protect: a plan of protection, or the path of one.
        cluster: the Dask cluster that runs the faults, as ``local:2`` or ``tcp://host:8786``; the
            network and the data are sent to its workers.
        quiet: say nothing and draw no bar.

    Raises:
        UserError: the network cannot take the data, or the faults do not fit the network.
    """

    def __init__(
        self,
        network: nn.Module | str,
        data: Any = None,
        faults: GivenFaults | None = None,
        *,
        samples: int | None = None,
        output: str | Path = "output",
        name: str | None = None,
        engine: str = "auto",
        memory: int | None = None,
        threads: int | None = None,
        overwrite: bool = False,
        accelerator: str = "auto",
        devices: int | str = 1,
        precision: str = "32-true",
        readout: str = "auto",
        time_axis: int | str = "auto",
        word_format: str = "float32",
        state_format: str = "float32",
        forward: str = "auto",
        batch_axis: int | str = "auto",
        forward_seed: int | None = None,
        decision_threshold: float | None = None,
        clamp: Clamps | str | Path | None = None,
        ecc: str = "",
        protect: ProtectionPlan | str | Path | None = None,
        cluster: str | None = None,
        quiet: bool = False,
    ) -> None:
        network = _load_network(network)
        data = _find_data(data, network)
        if isinstance(clamp, (str, Path)):
            clamp = Clamps.read(Path(clamp))
        if isinstance(protect, (str, Path)):
            protect = ProtectionPlan.read(Path(protect))
        options: dict[str, Any] = {
            "name": name,
            "readout": readout,
            "time_axis": time_axis,
            "limit": samples,
            "word_format": word_format,
            "state_format": state_format,
            "forward": forward,
            "batch_axis": batch_axis,
            "forward_seed": forward_seed,
            "decision_threshold": decision_threshold,
            "clamps": clamp,
        }
        remake = None  # before the subject prepares the network
        if cluster is not None:
            remake = RemadeSubject.make(network, data, options)
        self.subject = Subject(network, data, **options)
        settings = Settings(
            output=Path(output),
            engine=engine,
            memory=memory,
            threads=threads,
            hardware=Hardware(accelerator, devices, precision=precision),
            progress=None if quiet else "predictions",
            overwrite=overwrite,
            ecc=ecc,
            protection=protect,
            cluster=None if cluster is None else check_cluster(cluster),
        )
        plan = SamplingPlan() if faults is None else faults
        self.source = make_fault_source(plan, self.subject, settings.output)
        self.campaign = runner.Campaign(
            self.subject,
            self.source.runnable,
            settings,
            self.source.record,
            config="# Run from Python: there are no options to replay.\n",
            options={"model": self.subject.name, "data": self.subject.data_name, "engine": engine},
            callbacks=standard_callbacks(settings),
            say=runner.say_nothing if quiet else print,
            remake=remake,
        )

    def run(self) -> ResultTable:
        """Run what is not done yet; the table of all of it.

        Raises:
            UserError: the data or the golden run cannot be used.
            KeyboardInterrupt: the kernel was interrupted; what was done is stored.
        """
        self.source.write()
        self.campaign.run()
        folder = self.campaign.files.path
        write_table(folder)
        return ResultTable(folder)

    def __repr__(self) -> str:
        return f"Campaign({'; '.join(self._describe().values())})"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th style='text-align:left'>{escape(name)}</th>"
            f"<td style='text-align:left'>{escape(text)}</td></tr>"
            for name, text in self._describe().items()
        )
        return f"<table>{rows}</table>"

    def _describe(self) -> dict[str, str]:
        subject, source = self.subject, self.source
        number = len(self.campaign.trials)
        plan = "a list that was given" if source.plan is None else f"{source.plan.scheme} draw"
        if source.draw is not None:
            plan = f"{plan}, by interim analyses"
        return {
            "network": f"{subject.name} on {subject.data_name}, {subject.steps} time steps",
            "faults": f"{number:,} of {source.space.size:,}, {plan}: {self.campaign.source.name}",
            "sites": ", ".join(family.name for family in source.space.families),
            "engine": self.campaign.why,
        }


def _load_network(given: nn.Module | str) -> nn.Module:
    """Take the network, or load the trained one of that name."""
    if not isinstance(given, str):
        return given
    if given.endswith(".nir"):
        return read_network(Path(given))
    maker = find_maker(given, "models")
    network = maker()
    if not isinstance(network, nn.Module):
        raise UserError(f"{given} is no torch.nn.Module")
    path = checkpoint_of(network, None) if isinstance(maker, type) else None
    if path is not None:
        load_checkpoint(network, path)
    return network


def _find_data(given: Any, network: nn.Module) -> Any:
    """Take the data, or find those of that name, or the network's own."""
    given = getattr(network, "default_data", None) if given is None else given
    if given is None:
        raise UserError(f"{type(network).__name__} names no default data: give a datamodule")
    return find_maker(given, "datamodules")() if isinstance(given, str) else given
