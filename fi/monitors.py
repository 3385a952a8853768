"""Monitors, and how to write one of your own: ``--monitor ./my_file.py:MyMonitor``."""

from fi.engine.monitors.golden_bounds import Bounds, FiringRates, MembraneBounds, OutputCounts
from fi.engine.monitors.monitor_base import Monitor, NeuronActivity

__all__ = [
    "Bounds",
    "FiringRates",
    "MembraneBounds",
    "Monitor",
    "NeuronActivity",
    "OutputCounts",
]
