"""Fault lists: the published ones load, ours come back as written, bad ones name the place."""

from __future__ import annotations

import copy
import pickle
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from places import SHARED

from fi.base.text_files import csv_text
from fi.faults.csv_row import FAULT_COLUMNS, fault_list_text, fault_row
from fi.faults.fault import Fault
from fi.faults.fault_checks import check_fault
from fi.faults.fault_list import FaultListError, read_fault_list, write_fault_list
from fi.faults.fault_sites import Kind, SiteFamily
from fi.faults.fault_space import FaultSpace
from fi.faults.models import FAULT_MODELS
from fi.sampling.fault_draw import draw
from fi.sampling.plan import SamplingPlan

HEADER = "Injection,Layer,TensorIndex,Bit,Model,Step"
FAMILIES = (
    SiteFamily("fc1.weight", (20, 578), Kind.SYNAPSE),
    SiteFamily("lif1.beta", (), Kind.NEURON),
    SiteFamily("lif1.potential", (20,), Kind.STATE),
)
PUBLISHED = SHARED / "spikingjet/fault_list"
in_a_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def listing(tmp_path: Path, *rows: str, header: str = HEADER) -> Path:
    path = tmp_path / "list.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


@pytest.mark.parametrize(("network", "faults"), [("NMNIST", 15_944), ("CSNN", 16_307)])
def test_the_published_lists_load(network: str, faults: int) -> None:
    path = PUBLISHED / network / "51196_fault_list.csv"
    if not path.exists():
        pytest.skip("SpikingJET's fault lists are not here")
    found = read_fault_list(path)
    assert len(found) == faults
    assert {(fault.model, fault.steps) for fault in found} == {("bit-flip", None)}
    if network == "NMNIST":
        assert found[0] == Fault(0, "fc1.weight", (0, 290), 11)
        assert Counter(fault.layer for fault in found)["fc1.weight"] == 15_482


def test_the_published_list_fits_its_network_and_its_draw() -> None:
    """The 578-20-10 network: 11,910 words, 381,120 faults, of which 15,944 are drawn."""
    path = PUBLISHED / "NMNIST" / "51196_fault_list.csv"
    if not path.exists():
        pytest.skip("SpikingJET's fault lists are not here")
    shapes = {"fc1.weight": (20, 578), "fc1.bias": (20,), "fc2.weight": (10, 20), "fc2.bias": (10,)}
    for attribute in ("beta", "threshold", "potential", "spike"):
        shapes |= {f"lif1.{attribute}": (20,), f"lif2.{attribute}": (10,)}
    families = [SiteFamily(name, shape, Kind.SYNAPSE) for name, shape in shapes.items()]
    assert sum(family.words for family in families) == 11_910
    faults = read_fault_list(path, families, steps=100)
    assert len(draw(FaultSpace(tuple(families)), SamplingPlan())) == len(faults) == 15_944
    with pytest.raises(FaultListError, match=r"csv:\d+: index .* is outside fc1.weight of shape"):
        read_fault_list(path, [SiteFamily("fc1.weight", (20, 500), Kind.SYNAPSE), *families[1:]])


def test_a_list_is_written_as_documented(tmp_path: Path) -> None:
    path = tmp_path / "fault_list" / "net" / "1_fault_list.csv"
    faults = [
        Fault(0, "fc1.weight", (3, 101), 31),
        Fault(1, "lif1.potential", (4,), 0, "stuck-at-1", 7),
        Fault(2, "lif1.beta", (), 5, "stuck-at-0"),
    ]
    write_fault_list(path, faults)
    assert path.read_bytes().decode() == (
        f"{HEADER}\n"
        '0,fc1.weight,"(3, 101)",31,bit-flip,\n'
        '1,lif1.potential,"(4,)",0,stuck-at-1,7\n'
        "2,lif1.beta,(),5,stuck-at-0,\n"
    )
    assert read_fault_list(path, FAMILIES, steps=8) == faults
    assert list(path.parent.iterdir()) == [path], "no draft is left behind"


names = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=20)
some_faults = st.builds(
    Fault,
    st.integers(0, 10**12),
    names,
    st.lists(st.integers(0, 10**9), max_size=4).map(tuple),
    st.integers(0, 31),
    st.sampled_from(sorted(name for name, model in FAULT_MODELS.items() if model.takes_bits)),
    st.none() | st.integers(0, 10**6),
)
some_lists = st.lists(some_faults, min_size=1, max_size=8, unique_by=lambda f: f.injection)


@given(some_lists)
def test_the_lines_of_faults_are_csv_of_their_fields(faults: list[Fault]) -> None:
    quoted = [Fault(0, 'a,b"c.weight', (), (3, 5)), Fault(1, "'x y", (7,), (), "dead", range(2, 5))]
    rows = [FAULT_COLUMNS, *map(fault_row, [*quoted, *faults])]
    assert fault_list_text([*quoted, *faults]) == csv_text(rows)


@in_a_folder
@given(some_lists)
def test_what_is_written_is_read(tmp_path: Path, faults: list[Fault]) -> None:
    path = tmp_path / "list.csv"
    path.unlink(missing_ok=True)
    write_fault_list(path, faults)
    assert read_fault_list(path) == faults


@in_a_folder
@given(st.data())
def test_a_mutated_list_loads_or_is_refused_with_its_place(
    tmp_path: Path, data: st.DataObject
) -> None:
    path = listing(
        tmp_path, '0,fc1.weight,"(3, 101)",31,bit-flip,', '1,lif1.potential,"(4,)",0,stuck-at-1,7'
    )
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(content)))
        end = data.draw(st.integers(start, min(start + 3, len(content))))
        content[start:end] = data.draw(st.binary(max_size=3) | st.sampled_from(PIECES))
    path.write_bytes(content)
    place, faults = "", []
    try:
        faults = read_fault_list(path, FAMILIES, steps=10)
    except FaultListError as problem:
        place = str(problem)
    assert bool(faults) != place.startswith(str(path))
    for fault in faults:
        check_fault(fault, FAMILIES, steps=10)


PIECES = [
    b'"',
    b"\n",
    b"\r",
    b"\0",
    b",",
    b"(",
    b")",
    b"-1",
    b"99999999999999999999",
    b"\xff",
    b"=",
]

BAD_ROWS = {
    '0,fc9.weight,"(0, 0)",1,bit-flip,': "unknown layer 'fc9.weight'; known: fc1.weight, lif1.beta",
    '0,fc1.weight,"(20, 0)",1,bit-flip,': r"index \(20, 0\) is outside fc1.weight of shape",
    '0,fc1.weight,"(0,)",1,bit-flip,': r"index \(0,\) is outside fc1.weight of shape \(20, 578\)",
    '0,fc1.weight,"(0, -1)",1,bit-flip,': "TensorIndex is '.0, -1.'; allowed: a tuple such as",
    "0,lif1.potential,(3),1,bit-flip,": "TensorIndex is '.3.'; allowed: a tuple such as",
    "0,lif1.potential,3,1,bit-flip,": "TensorIndex is '3'",
    '0,lif1.potential,"(__import__(""os""),)",1,bit-flip,': "TensorIndex is",
    '0,lif1.potential,"(,)",1,bit-flip,': "TensorIndex is",
    "0,lif1.beta,(),32,bit-flip,": "bit 32 is outside the word: 0 to 31",
    "0,lif1.beta,(),-1,bit-flip,": "Bit is '-1'; allowed: a bit such as 11",
    "0,lif1.beta,(),1.0,bit-flip,": "Bit is '1.0'",
    "0,lif1.beta,(),1,flip,": "unknown fault model 'flip'; known: bit-flip, stuck-at-0",
    "0,lif1.beta,(),1,,": "unknown fault model ''",
    "0,lif1.beta,(),1,bit-flip,10": "step 10 is after the last one: the run has 10 steps",
    "0,lif1.beta,(),1,bit-flip,x": "Step is 'x'",
    "0,lif1.beta,(),1,bit-flip": "5 fields; allowed: the 6 fields Injection,Layer",
    "0,lif1.beta,(),1,bit-flip,,": "7 fields",
    "x,lif1.beta,(),1,bit-flip,": "Injection is 'x'",
    "0,,(),1,bit-flip,": "Layer is ''",
    '0,"a\nb",(),1,bit-flip,': r"Layer is 'a\\nb'",
    '5,fc1.weight,"(3, 101)",31,bit-flip,': "Injection 5 is on line 2 already",
    "0,lif1.beta,(),,bit-flip,": "fault model bit-flip needs a bit",
    '0,lif1.potential,"(1,)",3,stuck-value:0.5,': "stuck-value:0.5 takes no bit, not 3",
    '0,lif1.potential,"(1,)",,stuck-value:x,': "VALUE must be a finite number, not 'x'",
    '0,lif1.potential,"(1,)",,stuck-value,': "unknown fault model 'stuck-value'; known: .*:VALUE",
    "0,lif1.beta,(),,dead,": "dead does not strike lif1.beta, a neuron word; allowed: synapse",
    "0,lif1.beta,(),5-3,bit-flip,": "Bit is '5-3'; allowed: the lower bit first",
    "0,lif1.beta,(),3+3,bit-flip,": r"bits are \(3, 3\); allowed: each once",
    "0,lif1.beta,(),7,bit-flip,7-3": "Step is '7-3'; allowed: nothing, a step, or a window",
    "0,lif1.beta,(),7,bit-flip,3-10": "step 3-10 is after the last one: the run has 10 steps",
    '0,"lif1.beta,(),1,bit-flip,': "not CSV",
    f"0,lif1.beta,(),{'9' * 9000},bit-flip,": "Bit is '9{60}...'; allowed",
}


@pytest.mark.parametrize("row", BAD_ROWS)
def test_a_bad_row_is_named(tmp_path: Path, row: str) -> None:
    path = listing(tmp_path, '5,fc1.weight,"(3, 101)",31,bit-flip,', row)
    with pytest.raises(FaultListError, match=BAD_ROWS[row]) as caught:
        read_fault_list(path, FAMILIES, steps=10)
    assert str(caught.value).startswith(f"{path}:3: ")
    assert len(str(caught.value)) < 400


BAD_FILES = {
    b"": ":1: the header is ''",
    b"Injection,Layer,Index,Bit\n": ":1: the header is 'Injection,Layer,Index,Bit'; allowed",
    f"{HEADER}\n".encode(): "the list is empty",
    f"{HEADER}\n0,lif1\xff.beta,(),1,bit-flip,\n".encode("latin-1"): ":2: not UTF-8",
    f"{HEADER}\n\n0,lif1\0.beta,(),1,bit-flip,\n".encode(): ":3: NUL byte",
}


@pytest.mark.parametrize("content", BAD_FILES)
def test_a_bad_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "list.csv"
    path.write_bytes(content)
    with pytest.raises(FaultListError, match=BAD_FILES[content]):
        read_fault_list(path)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(FaultListError, match=r"none\.csv: no such file"):
        read_fault_list(tmp_path / "none.csv")
    with pytest.raises(FaultListError, match="is a folder"):
        read_fault_list(tmp_path)


def test_byte_order_mark_and_blank_lines_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_bytes(b"\xef\xbb\xbfInjection,Layer,TensorIndex,Bit\r\n\r\n3,lif1.beta,(),1\r\n\r\n")
    assert read_fault_list(path, FAMILIES) == [Fault(3, "lif1.beta", (), 1)]


def test_a_list_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    write_fault_list(path, [Fault(0, "lif1.beta", (), 1)])
    before = path.stat().st_mtime_ns
    write_fault_list(path, [Fault(0, "lif1.beta", (), 1)])
    assert path.stat().st_mtime_ns == before
    with pytest.raises(FaultListError, match="never overwritten"):
        write_fault_list(path, [Fault(0, "lif1.beta", (), 2)])
    assert read_fault_list(path) == [Fault(0, "lif1.beta", (), 1)]


def test_a_list_that_could_not_be_read_is_not_written(tmp_path: Path) -> None:
    fault = Fault(0, "lif1.beta", (), 1)
    for faults in ([], [fault, fault]):
        with pytest.raises(FaultListError, match="is not written"):
            write_fault_list(tmp_path / "list.csv", faults)
    (tmp_path / "file").write_text("")
    with pytest.raises(FaultListError, match="cannot be written"):
        write_fault_list(tmp_path / "file" / "list.csv", [fault])


def test_100_000_faults_are_read_in_about_a_second(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    write_fault_list(
        path, (Fault(n, "fc1.weight", (n % 20, n % 578), n % 32) for n in range(100_000))
    )
    start = time.process_time()
    assert len(read_fault_list(path, FAMILIES, steps=10)) == 100_000
    assert time.process_time() - start < 5  # 0.7 s on an idle core


@pytest.mark.parametrize(
    "fault",
    [
        Fault(3, "fc1.weight", (1, 2), 30),
        Fault(4, "lif1.spike", (7,), model="dead", steps=range(3, 8)),
        Fault(5, "lif1.potential", (), (0, 31), "stuck-at-1", range(2, 3)),
    ],
)
def test_a_fault_is_the_same_in_another_process(fault: Fault) -> None:
    assert pickle.loads(pickle.dumps(fault)) == fault
    assert copy.deepcopy(fault) == fault
