"""Fault models of a user, loaded by file or by dotted path."""

from __future__ import annotations

from fi.base.errors import UserError, report_errors
from fi.base.user_classes import find_class, names_class
from fi.faults.modelling.model_base import FaultModel
from fi.faults.models import FAULT_MODELS, register_model


def load_model(name: str) -> str:
    """The name under which a fault model is listed.

    Args:
        name: of a model that is known, ``./my_file.py:MyModel`` or ``my_package.MyModel``; a
            parameter stands behind it after a colon.

    Raises:
        UserError: there is no such class, or it is no fault model.
    """
    if name.partition(":")[0] in FAULT_MODELS or not names_class(name):
        return name  # ours; whether there is one, and its parameter, the plan says
    file, separator, rest = name.rpartition(".py:")
    class_name, colon, parameter = rest.partition(":")
    cls = find_class(file + separator + class_name, "fault models")
    if not issubclass(cls, FaultModel):
        raise UserError(f"fault model {name!r}: {cls.__name__} is no FaultModel")
    with report_errors(ValueError):
        listed = register_model(cls)
    return listed + colon + parameter
