"""Renew the table of array layouts in docs/architecture.md from the kernels' own groups of arrays.

make docs
"""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from fi.engine.compiled.kernels import arrays  # noqa: E402

PAGE = ROOT / "docs" / "architecture.md"
#: What the table stands between.
FIRST, LAST = "<!-- layouts -->", "<!-- end of layouts -->"
_FIELD = re.compile(r"^    ((?:\w+)(?:, \w+)*): (.*(?:\n      +.*)*)", re.MULTILINE)


def groups() -> list[Any]:
    """The named groups of arrays, in the order of their module."""
    return [
        value
        for value in vars(arrays).values()
        if isinstance(value, type) and hasattr(value, "_fields")
    ]


def rows(group: Any) -> list[tuple[str, str]]:
    """The fields of a group as its docstring has them, and what it says of them."""
    text = inspect.cleandoc(group.__doc__).partition("Attributes:\n")[2]
    return [
        (names, " ".join(words.split()).replace("``", "`")) for names, words in _FIELD.findall(text)
    ]


def table() -> str:
    """All groups as one table of Markdown."""
    lines = ["| group | arrays | type, shape and meaning |", "|---|---|---|"]
    for group in groups():
        for number, (names, words) in enumerate(rows(group)):
            first = f"`{group.__name__}`" if number == 0 else ""
            words = words.replace("|", "\\|")
            lines.append(
                f"| {first} | {', '.join(f'`{n}`' for n in names.split(', '))} | {words} |"
            )
    return "\n".join(lines)


def renewed(page: str) -> str:
    """The page with today's table."""
    before, _, rest = page.partition(FIRST)
    return f"{before}{FIRST}\n\n{table()}\n\n{LAST}{rest.partition(LAST)[2]}"


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
