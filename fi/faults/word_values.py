"""The value of a faulty word before and after: what a results file says of every fault."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from torch import nn

from fi.faults.csv_row import shown
from fi.faults.fault import Fault
from fi.faults.fault_sites import Kind, SiteFamily
from fi.faults.stored_words import golden_and_faulty

VALUE_COLUMNS = ("GoldenValue", "FaultyValue")
#: Golden and faulty value; ``None`` for states and spikes, which differ by sample and step.
WordValue = tuple[float, float] | None


def word_values(
    network: nn.Module, faults: Sequence[Fault], families: Sequence[SiteFamily]
) -> list[WordValue]:
    """The values that the words at the sites of ``faults`` have without and with the fault.

    Read from the fault-free network, so that they are the same whichever engine runs.

    Args:
        network: as stored, no fault in place.
        faults: the faults.
        families: the network's site families.
    """
    stored = {f.name for f in families if f.kind in (Kind.SYNAPSE, Kind.NEURON)}
    places: dict[str, list[int]] = defaultdict(list)
    for position, fault in enumerate(faults):
        if fault.layer in stored:
            places[fault.layer].append(position)
    values: list[WordValue] = [None] * len(faults)
    for name, positions in places.items():
        layer, _, attribute = name.rpartition(".")
        chosen = [faults[position] for position in positions]
        golden, faulty = golden_and_faulty(network.get_submodule(layer), attribute, chosen)
        pairs = zip(golden.tolist(), faulty.tolist(), strict=True)
        for position, pair in zip(positions, pairs, strict=True):
            values[position] = pair
    return values


def value_text(value: WordValue) -> str:
    """The two fields of a CSV row, which give the same floats when they are read."""
    return "," if value is None else f"{value[0]!r},{value[1]!r}"


def parse_value(golden: str, faulty: str) -> WordValue:
    """The inverse of ``value_text``; ``ValueError`` names the column."""
    if golden == faulty == "":
        return None
    return _parse_float(golden, VALUE_COLUMNS[0]), _parse_float(faulty, VALUE_COLUMNS[1])


def _parse_float(field: str, column: str) -> float:
    try:
        value = float(field)
    except ValueError:
        value = None
    if value is None or repr(value) != field:
        raise ValueError(
            f"{column} is {shown(field)}; allowed: a number such as 0.1, nan, inf or -inf, "
            "or both values empty"
        )
    return value
