"""What a command line names: without it a parser does not know its options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from fi.base.errors import UserError
from fi.base.user_classes import list_own_classes, resolve_config
from fi.base.user_makers import Maker, find_maker
from fi.cli.argv import asks_for_help, find_value
from fi.cli.error_text import summarise_parser_error
from fi.cli.nir_options import NIR_OPTIONS, is_nir_file, make_nir_maker, spell_in_config

_OPTIONS = ("model", "data", *NIR_OPTIONS)


def find_chosen_classes(argv: Sequence[str], options: Sequence[str]) -> dict[str, Maker]:
    """What makes the network and the data that ``argv`` or its ``--config`` names.

    Without ``--data`` it is the datamodule that the network names as its default. Empty where
    only help is asked for and no network is named.
    """
    given = _read_names(argv)
    if "model" not in given:
        if asks_for_help(argv):
            return {}
        raise UserError(f"--model is missing; known: {', '.join(list_own_classes('models'))}")
    classes = {"model": _find_network(given)}
    if "data" in options:
        classes["data"] = find_chosen_data(argv, classes["model"])
    return classes


def _find_network(given: Mapping[str, str]) -> Maker:
    """What makes the network; of a NIR file what reads it."""
    name = given["model"]
    return make_nir_maker(name, given) if is_nir_file(name) else find_maker(name, "models")


def find_chosen_data(argv: Sequence[str], network: Maker) -> Maker:
    """What ``--data`` names, or else the network as its default."""
    given = _read_names(argv)
    data = given.get("data") or getattr(network, "default_data", None)
    if data is None:
        known = ", ".join(list_own_classes("datamodules"))
        raise UserError(f"{given['model']} names no default data: give --data; known: {known}")
    return find_maker(data, "datamodules")


def _read_names(argv: Sequence[str]) -> dict[str, str]:
    """What ``--model`` and its like name; ``argv`` wins over its ``--config``."""
    return {**_read_config(find_value(argv, "config")), **_read_argv(argv)}


def _read_argv(argv: Sequence[str]) -> dict[str, str]:
    values = {option: find_value(argv, option) for option in _OPTIONS}
    return {option: value for option, value in values.items() if value is not None}


def _read_config(path: str | None) -> dict[str, str]:
    if path is None:
        return {}
    try:
        content = yaml.safe_load(Path(resolve_config(path)).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"--config {path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise UserError(
            f"--config {path} is no YAML: {summarise_parser_error(str(error))}"
        ) from error
    if not isinstance(content, dict):
        raise UserError(f"--config {path}: wanted are options by name, not {content!r:.60}")
    spelled = spell_in_config(_OPTIONS)
    return {typed: str(content[key]) for key, typed in spelled.items() if content.get(key)}
