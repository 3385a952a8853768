"""How many faults to draw."""

from __future__ import annotations

from fractions import Fraction
from typing import Literal, get_args

Rounding = Literal["floor", "nearest"]
#: Nominal coverage of the intervals in tables.
CONFIDENCE = 0.99


def sample_size(
    population: int,
    margin: float = 0.01,
    t: float = 2.58,
    p: float = 0.5,
    rounding: Rounding = "floor",
) -> int:
    """How many faults to draw from ``population`` faults, at least 1.

    ``n(N, p, e, t) = N / (1 + e^2 (N - 1) / (t^2 p (1 - p)))``: Leveugle et al., DATE 2009; Ruospo
    et al., DATE 2023, doi 10.23919/DATE56975.2023.10136998. Computed exactly, in fractions.

    Args:
        population: ``N``, the number of faults in the stratum.
        margin: ``e``, the half-width of the interval.
        t: quantile of the normal distribution, 2.58 for a confidence of 99 %.
        p: the expected rate; 0.5 is the worst case.
        rounding: ``floor`` as SpikingJET, ``nearest`` as the tables of DATE 2023.

    Raises:
        ValueError: an argument outside its range.

    >>> sample_size(381_120)  # the faults of SpikingJET's N-MNIST network, margin of 1 %
    15944
    >>> sample_size(381_120, margin=0.05)
    664
    """
    if population < 1:
        raise ValueError(f"population is {population}; allowed: 1 or more")
    check_size_arguments(margin, t, p, rounding)
    e, quantile, rate = (Fraction(str(value)) for value in (margin, t, p))
    n = population / (1 + e**2 * (population - 1) / (quantile**2 * rate * (1 - rate)))
    return max(1, int(n if rounding == "floor" else n + Fraction(1, 2)))


def quantile(confidence: float) -> float:
    """``t`` for a confidence: 2.58 for 0.99, as in the publications, else to six digits.

    Raises:
        ValueError: ``confidence`` is not between 0 and 1.

    >>> quantile(0.99), quantile(0.95)
    (2.58, 1.95996)
    """
    exact = normal_quantile(confidence)
    return 2.58 if confidence == 0.99 else float(f"{exact:.6g}")


def normal_quantile(confidence: float) -> float:
    """Half the width that holds ``confidence`` of a standard normal distribution: 2.5758 for 0.99.

    Raises:
        ValueError: the confidence is not above 0 and below 1.

    >>> round(normal_quantile(0.99), 4)
    2.5758
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}; allowed: above 0 and below 1, 0.99 is 99 %")
    from scipy.special import ndtri  # takes as long as all of numpy: not to read options

    return float(ndtri((1 + confidence) / 2))


def check_size_arguments(margin: float, t: float, p: float, rounding: str) -> None:
    """Raise ``ValueError`` for an argument of ``sample_size`` that is outside its range."""
    if not 0 < margin < 1:
        raise ValueError(f"margin is {margin}; allowed: above 0 and below 1, 0.01 is 1 %")
    if not 0 < t < 100:
        raise ValueError(f"t is {t}; allowed: above 0 and below 100, 2.58 is a confidence of 99 %")
    if not 0 < p < 1:
        raise ValueError(f"p is {p}; allowed: above 0 and below 1, 0.5 is the worst case")
    if rounding not in get_args(Rounding):
        raise ValueError(f"rounding is {rounding!r}; allowed: {', '.join(get_args(Rounding))}")
