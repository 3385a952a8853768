"""Options that a command would not heed beside others: these are refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from jsonargparse import Namespace

from fi.base.errors import UserError
from fi.base.user_classes import names_class
from fi.cli.nir_options import check_nir_options
from fi.cli.option_names import format_option
from fi.cli.option_values import split_words
from fi.faults.groups.grouped_families import split_group

if TYPE_CHECKING:
    from fi.faults.fault import Fault
    from fi.sampling.plan import SamplingPlan

#: Options on a list that is to be drawn.
_DRAW = (
    *("scheme", "margin", "t", "p", "rounding", "minimum_per_stratum", "prior", "seed"),
    *("faults.models", "faults.bits", "faults.burst", "faults.layers", "faults.steps"),
    *("faults.together", "faults.within", "faults.group"),
)
#: Options on the size of a sample. The margin is none here: an exhaustive draw keeps any.
_SIZE = ("t", "p", "rounding", "minimum_per_stratum")


def check_heeded(options: Namespace, usual: Namespace) -> None:
    """Raise ``UserError`` for options of ``fi.test`` that are set and would change nothing.

    Args:
        options: of the command.
        usual: their defaults.
    """
    given = _list_given(options, usual)
    check_nir_options(given, options.model)
    if options.fault_list and not (options.iterative or options.pilot):  # these refuse any list
        drawn = {name: value for name, value in given.items() if not _names_classes(name, value)}
        _refuse(drawn, _DRAW, "not with --fault-list, which says which faults are run")
    if options.scheme == "exhaustive":
        _refuse(given, _SIZE, "not with --scheme exhaustive, which takes every fault")
    if options.faults.together == 1 and options.faults.within == "layer":
        _refuse(given, ("faults.within",), "is for trials of several faults: --faults.together")
    if options.engine == "full":
        _refuse(given, ("memory",), "is for the differential engine, not for --engine full")
    if options.cluster is not None:
        each = "not with --cluster, each worker of which runs on one device"
        _refuse(given, ("devices", "num_nodes", "strategy"), each)
        _refuse(given, ("save_scores",), "not with --cluster, whose workers send counts")
    if options.quiet:
        _refuse(given, ("progress",), "not with --quiet, which draws no bar")
    if options.time_axis == "none":
        _refuse(given, ("batch_axis",), "not with --time-axis none: images are [batch, ...]")


def _names_classes(option: str, value: Any) -> bool:
    """Whether an option only says where classes of the user's are that a list may name."""
    if option not in ("faults.models", "faults.group"):
        return False
    return all(map(names_class, split_words(str(value))))


def check_needed(faults: Sequence[Fault], options: Namespace, plan: SamplingPlan) -> None:
    """Raise ``UserError`` where a class is named beside a list whose faults need it not.

    Args:
        faults: of the list.
        options: of the command, with ``--fault-list``.
        plan: what the options ask for, models and groups by the names that lists have.
    """
    needed = {
        "faults.models": {fault.model for fault in faults},
        "faults.group": {split_group(fault.layer)[1] for fault in faults},
    }
    loaded = {"faults.models": plan.models, "faults.group": (plan.group,)}
    for option, names in loaded.items():
        given = split_words(options[option] or "")
        for text, name in zip(given, names, strict=False):
            bases = {other.partition(":")[0] for other in needed[option]}
            if names_class(text) and name.partition(":")[0] not in bases:
                raise UserError(
                    f"{format_option(option)} {text}: no fault of --fault-list "
                    f"{options.fault_list} needs it; it has {', '.join(sorted(bases - {''}))}"
                )


def check_heeded_by_benchmark(options: Namespace, usual: Namespace) -> None:
    """The same for ``fi.benchmark``."""
    given = _list_given(options, usual)
    check_nir_options(given, options.model)
    if options.scaling:
        _refuse(given, ("faults", "samples", "check"), "not with --scaling, which has its own")
    if options.transient:
        _refuse(given, ("steps",), "not with --transient, which says when faults are active")


def _list_given(options: Namespace, usual: Namespace) -> dict[str, Any]:
    """Name -> value of the options that are not as usual."""
    defaults = vars(usual.as_flat())
    return {
        name: value
        for name, value in vars(options.as_flat()).items()
        if name in defaults and value != defaults[name]
    }


def _refuse(given: Mapping[str, Any], names: tuple[str, ...], reason: str) -> None:
    """Raise ``UserError`` where an option of these ``names`` is given."""
    ignored = [f"{format_option(name)} {given[name]}" for name in names if name in given]
    if ignored:
        raise UserError(f"{', '.join(ignored)}: {reason}")
