"""Maps of words to hardware of a user, loaded by file or by dotted path."""

from __future__ import annotations

from collections.abc import Collection

from fi.base.errors import UserError, report_errors
from fi.base.user_classes import find_class, names_class
from fi.faults.groups.element_maps import WORD_MAPS, WordMap, word_map
from fi.faults.groups.grouped_families import find_groups
from fi.faults.modelling.class_sources import choose_name, is_ours, read_source


def load_map(name: str) -> str:
    """The name under which groups are listed.

    Args:
        name: of a map that is known, ``./my_file.py:MyMap`` or ``my_package.MyMap``; a parameter
            stands behind it after a colon.

    Raises:
        UserError: there is no such map, or it is none.
    """
    if names_class(name):
        file, separator, rest = name.rpartition(".py:")
        class_name, colon, parameter = rest.partition(":")
        cls = find_class(file + separator + class_name, "groups")
        if not issubclass(cls, WordMap):
            raise UserError(f"group {name!r}: {cls.__name__} is no WordMap")
        with report_errors(ValueError):
            name = register_map(cls) + colon + parameter
    with report_errors(ValueError, prefix="--faults.group: "):
        word_map(name)
    return name


def user_map_sources(names: Collection[str]) -> list[str]:
    """The source of those maps of ``names`` that are a user's, as far as there is one."""
    kinds = {type(word_map(name)) for name in names}
    return sorted(read_source(kind, WordMap) for kind in kinds if not is_ours(kind))


def register_map(kind: type[WordMap]) -> str:
    """Make a map of your own known, and return its name: that of the class where it has none.

    Raises:
        ValueError: its name is one of ours, or no name.
    """
    kind.name = choose_name(kind, WORD_MAPS, "group")
    WORD_MAPS[kind.name] = kind
    find_groups.cache_clear()
    return kind.name
