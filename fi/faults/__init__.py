"""Fault models, sites, the fault space, fault lists, and how a fault is put into a network.

Public names: faults, their lists, the space that they are drawn from, and a network with a fault.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fi.base.public_names import load_lazily

if TYPE_CHECKING:
    from fi.faults.fault import Fault
    from fi.faults.fault_list import FaultListError, read_fault_list, write_fault_list
    from fi.faults.fault_sites import Kind, SiteFamily
    from fi.faults.fault_space import FaultSpace
    from fi.faults.injection import injected
    from fi.faults.modelling.model_base import FaultModel

__all__ = [
    "Fault",
    "FaultListError",
    "FaultModel",
    "FaultSpace",
    "Kind",
    "SiteFamily",
    "injected",
    "read_fault_list",
    "write_fault_list",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = load_lazily(
        __name__,
        {
            "fault": ("Fault",),
            "fault_list": ("FaultListError", "read_fault_list", "write_fault_list"),
            "fault_sites": ("Kind", "SiteFamily"),
            "fault_space": ("FaultSpace",),
            "injection": ("injected",),
            "modelling.model_base": ("FaultModel",),
        },
    )
