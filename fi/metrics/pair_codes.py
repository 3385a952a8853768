"""What became of a pair, in a number: its outcome, and what else is known of scores and spikes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fi.metrics.judgement import Judgement
from fi.metrics.pairs import HIDDEN, OUTPUT, Pairs

#: Bits 0 to 2: the place of the outcome in ``OUTCOMES``.
OUTCOME = 0b111
#: Some score, not only the largest, differs from the golden one.
SCORES_DIFFER = 1 << 3
#: The class is the label, under the fault.
CORRECT = 1 << 4
#: A score is infinite or NaN.
NON_FINITE = 1 << 5
#: A spike of a hidden layer, or of the output layer, differs; where spikes are compared.
_SPIKE_BITS = 6
HIDDEN_DIFFER, OUTPUT_DIFFER = HIDDEN << _SPIKE_BITS, OUTPUT << _SPIKE_BITS
#: From here on a bit for each monitor: it reports the pair, and not the golden run, or the reverse.
ALARM_BITS = 8
#: Bits of the sample and of the code in a packed pair.
_SAMPLE_BITS, _CODE_BITS = 28, 16


def pack_pairs(
    pairs: Pairs, judged: Judgement, differs: Tensor, first_fault: int = 0, first_sample: int = 0
) -> Tensor:
    """Pairs as one number each, which order by fault, then by sample; those that differ nowhere
    are left out.

    Args:
        pairs: of which nothing is taken of the scores.
        judged: of the pairs.
        differs: whether any of their scores differs from the golden one, ``bool [pairs]``.
        first_fault: position in its group of the trial 0.
        first_sample: place in the test set of the sample 0.

    Returns:
        ``int64 [pairs that differ]``.
    """
    code = judged.outcome + SCORES_DIFFER * differs + CORRECT * judged.correct
    code = code + NON_FINITE * judged.non_finite
    for bits, shift in ((pairs.spikes, _SPIKE_BITS), (pairs.alarms, ALARM_BITS)):
        if bits is not None:
            code = code + (bits.to(code.dtype) << shift)
            differs = differs | (bits != 0)
    sample = (pairs.sample + first_sample) << _CODE_BITS
    packed = ((pairs.fault + first_fault) << (_SAMPLE_BITS + _CODE_BITS)) + sample + code
    return packed[differs]


def move_faults(packed: NDArray[np.int64], places: Sequence[int]) -> NDArray[np.int64]:
    """Packed pairs with the trial ``k`` as ``places[k]``."""
    fault, rest = np.divmod(packed, 1 << (_SAMPLE_BITS + _CODE_BITS))
    moved = np.asarray(places, np.int64)[fault] << (_SAMPLE_BITS + _CODE_BITS)
    found: NDArray[np.int64] = moved + rest
    return found


def unpack_pairs(
    packed: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Fault, sample and code of each, ``int64 [pairs]``.

    >>> import torch
    >>> from fi.metrics.judgement import Judgement
    >>> judged = Judgement(torch.tensor([1]), torch.tensor([False]), torch.tensor([True]))
    >>> pairs = Pairs(torch.tensor([3]), torch.tensor([7]), torch.zeros(1, 4))
    >>> one = pack_pairs(pairs, judged, torch.tensor([True]))
    >>> [part.tolist() for part in unpack_pairs(one.numpy())]
    [[3], [7], [25]]
    """
    code = packed & ((1 << _CODE_BITS) - 1)
    sample = (packed >> _CODE_BITS) & ((1 << _SAMPLE_BITS) - 1)
    return packed >> (_SAMPLE_BITS + _CODE_BITS), sample, code


def shift_pairs(packed: NDArray[np.int64], first: int) -> NDArray[np.int64]:
    """The pairs of a group as those of a larger one, of which it begins at trial ``first``.

    >>> [part.tolist() for part in unpack_pairs(shift_pairs(np.array([7 << _CODE_BITS]), 3))]
    [[3], [7], [0]]
    """
    return packed + (first << (_SAMPLE_BITS + _CODE_BITS))
