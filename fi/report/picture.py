"""A figure with what has to stand beside it: its title, how to read it, what it stands on."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from fi.base.text_files import write_text
from fi.report.palette import STYLE

#: Inches: the column of a page.
WIDE = 7.6
#: What takes the place of matplotlib's own font where it is not installed; both are as wide.
_FONTS = "'DejaVu Sans', Verdana, sans-serif"


@dataclass(frozen=True)
class Picture:
    """One figure of a report.

    Attributes:
        name: of its file and its place in the page.
        title: what it shows.
        reading: how to read it, one line.
        stands_on: the number of faults and samples behind it.
        draw: makes the figure for a width in inches.
    """

    name: str
    title: str
    reading: str
    stands_on: str
    draw: Callable[[float], Figure]

    def figure(self, width: float = WIDE) -> Figure:
        """The figure, ``width`` inches wide."""
        with matplotlib.rc_context(STYLE):
            return self.draw(width)

    def svg(self, width: float = WIDE) -> str:
        """The figure as an SVG document; text stays text. The same figure gives the same bytes."""
        out = io.StringIO()
        with matplotlib.rc_context(STYLE | {"svg.hashsalt": self.name}):
            figure = self.draw(width)
            figure.savefig(out, format="svg", metadata={"Date": None, "Title": self.title})
        return out.getvalue().replace("'DejaVu Sans'", _FONTS)

    def inline(self) -> str:
        """The ``<svg>`` element alone, its ids its own among other figures of a page."""
        text = self.svg()
        text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
        prefix = re.sub(r"\W", "-", self.name)
        text = re.sub(r'\bid="', f'id="{prefix}-', text)
        text = re.sub(r'(href="|url\()#', rf"\1#{prefix}-", text)
        return re.sub(r"\n\s*", "\n", text)

    def save(self, path: str | Path, width: float = WIDE) -> Path:
        """Write the figure as an SVG file; the path."""
        write_text(Path(path), self.svg(width))
        return Path(path)

    def _repr_svg_(self) -> str:
        """What a notebook shows."""
        return self.svg()

    def __repr__(self) -> str:
        return f"Picture({self.name!r}: {self.title}; {self.stands_on})"
