"""Public: fault sites, the words of a network that a fault may hit, by kind and family."""

from __future__ import annotations

from fi.faults.fault_sites import Kind, SiteFamily

__all__ = ["Kind", "SiteFamily"]
