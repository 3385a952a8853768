"""Compiled kernels of the differential engine: sequential, without the GIL, one call a thread.

Arithmetic is snnTorch's, operation by operation and without contraction, so that a membrane that a
fault does not reach comes out bit for bit as in the golden run. What they take and give is in
``arrays``. Any edit of a file here compiles all of them again: what is no kernel lives elsewhere.
"""

from fi.engine.compiled.kernels.bounds import find_largest_membranes, find_margins, find_peaks
from fi.engine.compiled.kernels.incoming import (
    add_pairs,
    order_by_time,
    pool_maxima,
)
from fi.engine.compiled.kernels.input_faults import simulate_input_faults
from fi.engine.compiled.kernels.multi_fault_stage import run_multi_fault_stage
from fi.engine.compiled.kernels.neuron_faults import simulate_neuron_faults
from fi.engine.compiled.kernels.propagate_conv import propagate_conv
from fi.engine.compiled.kernels.propagate_linear import propagate_linear
from fi.engine.compiled.kernels.read_out import (
    fill_frames,
    find_frames,
    read_maxima,
    read_out,
    read_out_maxima,
    replace_classes,
)
from fi.engine.compiled.kernels.recurrent import run_recurrent
from fi.engine.compiled.kernels.weight_faults import simulate_weight_faults

__all__ = [
    "add_pairs",
    "fill_frames",
    "find_frames",
    "find_largest_membranes",
    "find_margins",
    "find_peaks",
    "order_by_time",
    "pool_maxima",
    "propagate_conv",
    "propagate_linear",
    "read_maxima",
    "read_out",
    "read_out_maxima",
    "replace_classes",
    "run_multi_fault_stage",
    "run_recurrent",
    "simulate_input_faults",
    "simulate_neuron_faults",
    "simulate_weight_faults",
]
