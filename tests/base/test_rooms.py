"""The house: no room is too full to be seen at a glance, and a file's name tells which it is."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import fi

HOME = Path(fi.__file__).parent
#: ``__init__.py`` included; but for the commands, which are one file each in ``fi`` itself.
MOST = 16


def test_no_room_has_more_than_sixteen_files() -> None:
    rooms = Counter(file.parent for file in HOME.rglob("*.py") if file.parent != HOME)
    assert len(rooms) > 30
    assert {str(room): number for room, number in rooms.items() if number > MOST} == {}


def test_no_name_stands_twice() -> None:
    names = Counter(file.name for file in HOME.rglob("*.py"))
    own = ("__init__.py", "__main__.py")
    assert [name for name, number in names.items() if number > 1 and name not in own] == []
