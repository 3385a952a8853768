"""Compiled kernels of the differential engine: sequential, without the GIL, one call a thread.

Arithmetic is snnTorch's, operation by operation and without contraction, so that a membrane that a
fault does not reach comes out bit for bit as in the golden run. ``f`` is float32 or float64. Any
edit of a file here compiles all of them again: what is no kernel lives elsewhere.

Differences are three arrays with an entry for each changed spike: step, neuron, change. Pair ``k``
of a pair list owns the entries from ``ends[k - 1]`` to ``ends[k]``.
"""

from fi.engine.compiled.kernels.bounds import largest_membranes, margins, peaks
from fi.engine.compiled.kernels.input_faults import struck_lines
from fi.engine.compiled.kernels.multi_fault_stage import meet
from fi.engine.compiled.kernels.neuron_faults import strike_neurons
from fi.engine.compiled.kernels.propagate_conv import flow
from fi.engine.compiled.kernels.propagate_linear import flow_dense
from fi.engine.compiled.kernels.read_out import finish, replaced
from fi.engine.compiled.kernels.recurrent import CONDUCTED, FED, close_loop
from fi.engine.compiled.kernels.weight_faults import strike_currents

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
