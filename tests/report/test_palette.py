"""The colours of outcomes stay apart for every kind of colour vision, and in grey."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from numpy.typing import NDArray

from fi.report.palette import COLOURS, NOTHING, SEVERITY, severity_map

Colour = NDArray[np.float64]
#: Complete dichromacy (Machado, Oliveira and Fernandes, IEEE TVCG 15, 2009), linear RGB.
_VISION = {
    "full": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
               [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
               [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
               [0.004733, 0.691367, 0.303900]],
}  # fmt: skip
_TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def lightness(colour: str | tuple[float, ...], vision: str = "full") -> float:
    """L* of CIELAB, 0 to 100."""
    return float(lab(colour, vision)[0])


def lab(colour: str | tuple[float, ...], vision: str) -> Colour:
    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.array(_VISION[vision]) @ linear, 0, 1)
    xyz = _TO_XYZ @ seen / (_TO_XYZ @ np.ones(3))
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("vision", list(_VISION))
def test_outcomes_darken_with_severity(vision: str) -> None:
    steps = -np.diff([lightness(COLOURS[name], vision) for name in SEVERITY])
    assert steps.min() > 8
    seen = [lab(COLOURS[name], vision) for name in SEVERITY]
    apart = [np.linalg.norm(a - b) for n, a in enumerate(seen) for b in seen[:n]]
    assert min(apart) > 12  # 2 is just noticeable


def test_the_scale_of_the_maps_darkens() -> None:
    scale = [lightness(severity_map()(x)[:3]) for x in np.linspace(0, 1, 33)]
    assert np.diff(scale).max() < 0
    assert lightness("white") - lightness(NOTHING) > 4
    assert lightness(NOTHING) > scale[0] + 2
    assert lightness("white") == pytest.approx(100)
