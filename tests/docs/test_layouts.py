"""The table of array layouts says what the kernels' groups of arrays say."""

from __future__ import annotations

import layouts
import pytest


def test_the_page_has_todays_table() -> None:
    page = layouts.PAGE.read_text(encoding="utf-8")
    assert layouts.renewed(page) == page, "run: make docs"


@pytest.mark.parametrize("group", layouts.groups(), ids=lambda group: group.__name__)
def test_every_array_is_described(group: type) -> None:
    described = [name for names, _ in layouts.rows(group) for name in names.split(", ")]
    assert described == list(group._fields)
