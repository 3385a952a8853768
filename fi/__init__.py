"""Fault injection for spiking neural networks in snnTorch.

    import fi

    campaign = fi.Campaign("NMNIST", faults=fi.SamplingPlan(margin=0.05), samples=200)
    table = campaign.run()
    table.plot()

The names below are loaded when they are first used: ``import fi`` itself loads nothing.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from fi.base.checkout_folders import install_finder

if TYPE_CHECKING:
    from fi.api import Campaign
    from fi.base.errors import UserError
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

#: Public name -> the module that has it.
_HOMES = {
    "Campaign": "fi.api",
    "Fault": "fi.faults.fault",
    "IterativePlan": "fi.sampling.sequential_plan",
    "ResultTable": "fi.report.result_view",
    "SamplingPlan": "fi.sampling.plan",
    "SpikingNetwork": "fi.network.stages",
    "Stage": "fi.network.stages",
    "UserError": "fi.base.errors",
    "load_checkpoint": "fi.network.checkpoint",
    "read_fault_list": "fi.faults.fault_list",
    "write_fault_list": "fi.faults.fault_list",
}

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
    "read_fault_list",
    "write_fault_list",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'fi' has no attribute {name!r}; it has: {', '.join(__all__)}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
