"""What became of a pair, in a byte: its outcome, and what else is known of its scores."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fi.metrics.judgement import Judgement

#: Bits 0 to 2: the place of the outcome in ``OUTCOMES``.
OUTCOME = 0b111
#: Some score, not only the largest, differs from the golden one.
SCORES_DIFFER = 1 << 3
#: The class is the label, under the fault.
CORRECT = 1 << 4
#: A score is infinite or NaN.
NON_FINITE = 1 << 5
#: Bits of the sample and of the code in a packed pair.
_SAMPLE_BITS, _CODE_BITS = 32, 8


def pack_pairs(fault: Tensor, sample: Tensor, judged: Judgement, differs: Tensor) -> Tensor:
    """Pairs as one number each, which order by fault, then by sample; those that differ nowhere
    are left out.

    Args:
        fault: position of the trial in its group, ``int64 [pairs]``.
        sample: place in the test set, ``int64 [pairs]``.
        judged: of the pairs.
        differs: whether any of their scores differs from the golden one, ``bool [pairs]``.

    Returns:
        ``int64 [pairs that differ]``.
    """
    code = judged.outcome + SCORES_DIFFER * differs + CORRECT * judged.correct
    code = code + NON_FINITE * judged.non_finite
    packed = (fault << (_SAMPLE_BITS + _CODE_BITS)) + (sample << _CODE_BITS) + code
    return packed[differs]


def unpack_pairs(
    packed: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Fault, sample and code of each, ``int64 [pairs]``.

    >>> import torch
    >>> from fi.metrics.judgement import Judgement
    >>> judged = Judgement(torch.tensor([1]), torch.tensor([False]), torch.tensor([True]))
    >>> one = pack_pairs(torch.tensor([3]), torch.tensor([7]), judged, torch.tensor([True]))
    >>> [part.tolist() for part in unpack_pairs(one.numpy())]
    [[3], [7], [25]]
    """
    code = packed & ((1 << _CODE_BITS) - 1)
    sample = (packed >> _CODE_BITS) & ((1 << _SAMPLE_BITS) - 1)
    return packed >> (_SAMPLE_BITS + _CODE_BITS), sample, code


def shift_pairs(packed: NDArray[np.int64], first: int) -> NDArray[np.int64]:
    """The pairs of a group as those of a larger one, of which it begins at trial ``first``.

    >>> [part.tolist() for part in unpack_pairs(shift_pairs(np.array([7 << 8]), 3))]
    [[3], [7], [0]]
    """
    return packed + (first << (_SAMPLE_BITS + _CODE_BITS))
