"""Compiled kernels of the differential engine: sequential, without the GIL, one call a thread.

Arithmetic is snnTorch's, operation by operation and without contraction, so that a membrane that a
fault does not reach comes out bit for bit as in the golden run. ``f`` is float32 or float64. Any
edit of a file here compiles all of them again: what is no kernel lives elsewhere.

Differences are three arrays with an entry for each changed spike: step, neuron, change. Pair ``k``
of a pair list owns the entries from ``ends[k - 1]`` to ``ends[k]``.
"""

from fi.engine.kernels.currents import strike_currents
from fi.engine.kernels.dense import flow_dense
from fi.engine.kernels.flow import flow
from fi.engine.kernels.lines import struck_lines
from fi.engine.kernels.loop import CONDUCTED, FED, close_loop
from fi.engine.kernels.meet import meet
from fi.engine.kernels.neurons import strike_neurons
from fi.engine.kernels.readout import finish, replaced
from fi.engine.kernels.traces import largest_membranes, margins, peaks

__all__ = [
    "CONDUCTED",
    "FED",
    "close_loop",
    "finish",
    "flow",
    "flow_dense",
    "largest_membranes",
    "margins",
    "meet",
    "peaks",
    "replaced",
    "strike_currents",
    "strike_neurons",
    "struck_lines",
]
