"""How a campaign is run: what a user sets, as plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from fi.faults.protection.protection_plan import ProtectionPlan
from fi.sampling.shards import Shard

#: Precisions in which a float32 word of the network keeps its meaning.
PRECISIONS = ("32-true", "64-true")
#: What of every pair ``--save-pairs`` keeps.
LEVELS = ("scores", "spikes")


@dataclass(frozen=True)
class Hardware:
    """What to run on; names and values are those of Lightning's Trainer.

    Attributes:
        accelerator: auto (the CPU, whose kernels have been timed), cpu, gpu, ...
        devices: number of processes on each machine, or a list such as 0,2.
        num_nodes: number of machines.
        strategy: auto, ddp, ...
        precision: 32-true or 64-true.
    """

    accelerator: str = "auto"
    devices: int | str = 1
    num_nodes: int = 1
    strategy: str = "auto"
    precision: str = "32-true"


@dataclass(frozen=True)
class Settings:
    """How a campaign is run.

    Attributes:
        output: the root of all results.
        engine: auto, full, ...
        memory: the differential engine's budget in bytes; ``None`` leaves it to the engine.
        threads: of its kernels; ``None`` takes as many as torch uses.
        hardware: what Lightning runs on.
        save_scores: write every faulty score tensor.
        save_pairs: keep the outcome of every pair, in ``pairs.bin``: of its ``scores``, or of its
            ``spikes`` as well; empty keeps none.
        progress: what the bar counts, ``predictions`` or ``scores``; ``None`` draws no bar.
        overwrite: run a finished campaign again.
        figures: draw the figures of the report and of TensorBoard in the end.
        shard: the part of the list that is run; ``None`` is all of it.
        check_first: run some faults of every family on the full engine before the campaign.
        ecc: the code of the memory of weights and parameters, ``secded:32``; empty for none.
        protection: which bits of which words are protected, and how; ``None`` for none.
        cluster: the Dask cluster that runs the trials, as ``--cluster`` names it; ``None`` runs
            them in this process.
    """

    output: Path = Path("output")
    engine: str = "auto"
    memory: int | None = None
    threads: int | None = None
    hardware: Hardware = field(default_factory=Hardware)
    save_scores: bool = False
    save_pairs: str = ""
    progress: str | None = "predictions"
    overwrite: bool = False
    figures: bool = True
    shard: Shard | None = None
    check_first: bool = True
    ecc: str = ""
    protection: ProtectionPlan | None = None
    cluster: str | None = None
