"""The file of pairs: what is written is read, and what is damaged is refused in a line."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fi.faults.fault import Fault, Trial
from fi.store.pairs_file import MAGIC, PairBlock, PairsError, PairsFile, PairsHead

SAMPLES = 400


def trial(injection: int) -> Trial:
    return (Fault(injection, "fc1.weight", (0, injection), 30),)


def block(pairs: dict[tuple[int, int], int], injections: list[int]) -> PairBlock:
    """Of codes by place of the trial and sample."""
    packed = [(row << 44) + (sample << 16) + code for (row, sample), code in pairs.items()]
    return PairBlock.of([trial(number) for number in injections], np.array(packed, np.int64))


def listed(blocks: list[PairBlock]) -> dict[tuple[int, int], int]:
    """Codes by injection and sample."""
    return {
        (int(one.injection[row]), int(sample)): int(code)
        for one in blocks
        for row, sample, code in zip(one.trial, one.sample, one.code, strict=True)
    }


ONE = {(0, 3): 25, (2, 399): 1, (2, 0): 9}


def stored(path: Path) -> PairsFile:
    file = PairsFile(path / "pairs.bin")
    file.start(PairsHead(SAMPLES))
    file.append(block(ONE, [10, 11, 12]))
    file.append(block({(0, 7): 2}, [13]))
    return file


def test_what_is_written_is_read(tmp_path: Path) -> None:
    file = stored(tmp_path)
    assert file.read_head() == PairsHead(SAMPLES)
    wanted = {(10, 3): 25, (12, 399): 1, (12, 0): 9, (13, 7): 2}
    assert listed(list(file.blocks())) == wanted
    assert [one.injection.tolist() for one in file.blocks()] == [[10, 11, 12], [13]]


@given(
    st.dictionaries(
        st.tuples(st.integers(0, 4), st.integers(0, SAMPLES - 1)),
        st.integers(0, (1 << 16) - 1),
        max_size=30,
    )
)
def test_any_pairs_come_back(pairs: dict[tuple[int, int], int]) -> None:
    given_block = block(pairs, list(range(5)))
    assert listed([PairBlock.decode(given_block.encode(), SAMPLES)]) == pairs


@pytest.mark.parametrize("cut", [1, 8, 15, 17])
def test_a_last_block_that_is_not_complete_is_left_out(tmp_path: Path, cut: int) -> None:
    file = stored(tmp_path)
    whole = file.path.read_bytes()
    last = whole.rindex(MAGIC)
    file.path.write_bytes(whole[: last + cut])
    assert set(listed(list(file.blocks()))) == {(10, 3), (12, 399), (12, 0)}
    file.keep([10, 11, 12])
    file.append(block({(0, 7): 2}, [13]))
    assert file.path.read_bytes() == whole


def test_pairs_without_results_are_dropped(tmp_path: Path) -> None:
    file = stored(tmp_path)
    file.keep([10, 12])
    assert listed(list(file.blocks())) == {(10, 3): 25, (12, 399): 1, (12, 0): 9}
    with pytest.raises(PairsError, match=r"injection 11 and 1 others have results and no pairs"):
        file.keep([10, 11, 12, 14])


def test_parts_are_joined(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
    parts = [stored(tmp_path / "a"), PairsFile(tmp_path / "b" / "pairs.bin")]
    parts[1].start(PairsHead(SAMPLES))
    parts[1].append(block({(0, 1): 3}, [20]))
    joined = PairsFile(tmp_path / "pairs.bin")
    joined.join(parts)
    assert len(listed(list(joined.blocks()))) == 5
    parts[1].path.unlink()
    parts[1].start(PairsHead(SAMPLES + 1))
    with pytest.raises(PairsError, match=r"its parts have other samples"):
        joined.join(parts)


@pytest.mark.parametrize(
    "other",
    [
        PairsHead(SAMPLES, "spikes", "lif2"),
        PairsHead(SAMPLES, monitors={"rates": [3]}),
        PairsHead(SAMPLES, source="of another class"),
    ],
)
def test_parts_that_keep_something_else_are_not_joined(tmp_path: Path, other: PairsHead) -> None:
    for name, head in (("a", PairsHead(SAMPLES)), ("b", other)):
        (tmp_path / name).mkdir()
        PairsFile(tmp_path / name / "pairs.bin").start(head)
    parts = [PairsFile(tmp_path / name / "pairs.bin") for name in "ab"]
    assert parts[1].read_head() == other
    with pytest.raises(PairsError, match="its parts have other"):
        PairsFile(tmp_path / "pairs.bin").join(parts)


def test_a_file_of_another_version_is_refused(tmp_path: Path) -> None:
    file = stored(tmp_path)
    head = zlib.compress(json.dumps({"version": 1, "samples": SAMPLES}).encode())
    sizes = struct.pack("<II", len(head), zlib.crc32(head))
    file.path.write_bytes(MAGIC + sizes + head)
    with pytest.raises(PairsError, match="version 1; allowed is 2"):
        file.read_head()


def test_damage_is_told_in_a_line(tmp_path: Path) -> None:
    whole = stored(tmp_path).path.read_bytes()
    file = PairsFile(tmp_path / "damaged.bin")
    with pytest.raises(PairsError, match="No such file"):
        file.read_head()
    draw = np.random.default_rng(5)
    said: list[str] = []
    for _ in range(300):
        place, bit = int(draw.integers(len(whole))), 1 << int(draw.integers(8))
        data = bytearray(whole)
        data[place] ^= bit
        file.path.write_bytes(bytes(data))
        try:
            found = listed(list(file.blocks()))
        except PairsError as problem:
            said.append(str(problem))
        else:  # a length that goes beyond the end: what follows is not complete
            assert found.items() < {(10, 3): 25, (12, 399): 1, (12, 0): 9, (13, 7): 2}.items()
    assert len(said) > 200
    assert not any("\n" in text for text in said)
