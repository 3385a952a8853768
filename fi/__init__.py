"""Fault injection for spiking neural networks in snnTorch.

    import fi

    campaign = fi.Campaign("NMNIST", faults=fi.SamplingPlan(margin=0.05), samples=200)
    table = campaign.run()
    table.plot()

The names below are loaded when they are first used: ``import fi`` itself loads nothing. For those
who write networks, fault models, callbacks or programs there are more in ``fi.network``,
``fi.fault_models``, ``fi.word_maps``, ``fi.sites``, ``fi.readout``, ``fi.faults``,
``fi.sampling``, ``fi.metrics`` and ``fi.campaign``. What none of them lists may move.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from fi.base.checkout_folders import install_finder
from fi.base.cuda_start import set_cublas_workspace
from fi.base.public_names import load_lazily

if TYPE_CHECKING:
    from fi.api import Campaign
    from fi.base.errors import UserError
    from fi.detection.stored_pairs import load_pairs
    from fi.faults.fault import Fault
    from fi.faults.fault_list import read_fault_list, write_fault_list
    from fi.network.checkpoint import load_checkpoint
    from fi.network.stages import SpikingNetwork, Stage
    from fi.report.result_view import ResultTable
    from fi.sampling.plan import SamplingPlan
    from fi.sampling.sequential_plan import IterativePlan

install_finder()

# PyTorch's OpenMP threads would go on spinning after each of its operations, for milliseconds in
# which the threads of the kernels want the cores. It is read when PyTorch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
set_cublas_workspace()

__all__ = [
    "Campaign",
    "Fault",
    "IterativePlan",
    "ResultTable",
    "SamplingPlan",
    "SpikingNetwork",
    "Stage",
    "UserError",
    "load_checkpoint",
    "load_pairs",
    "read_fault_list",
    "write_fault_list",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = load_lazily(
        __name__,
        {
            "api": ("Campaign",),
            "base.errors": ("UserError",),
            "detection.stored_pairs": ("load_pairs",),
            "faults.fault": ("Fault",),
            "faults.fault_list": ("read_fault_list", "write_fault_list"),
            "network.checkpoint": ("load_checkpoint",),
            "network.stages": ("SpikingNetwork", "Stage"),
            "report.result_view": ("ResultTable",),
            "sampling.plan": ("SamplingPlan",),
            "sampling.sequential_plan": ("IterativePlan",),
        },
    )
