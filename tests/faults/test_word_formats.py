"""Number formats of stored words against ``struct``, numpy and plain integers, in both engines."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from campaigns import Run, subject_of
from hypothesis import given
from hypothesis import strategies as st
from oracle_formats import oracle_value, scale_of, to_fixed, word_of
from oracle_formulas import Oracle, expected, scores_of
from small_networks import INPUT_SHAPES, SmallConv, SmallLinear, event_batches, small
from torch import nn

from fi.base.errors import UserError
from fi.campaign.subject import Subject
from fi.faults.bits import are_same_words, as_signed
from fi.faults.fault import Fault, group_trials
from fi.faults.formats.integer_formats import Fixed, Int8
from fi.faults.stored_words import StoredWord, golden_and_faulty
from fi.faults.word_formats import BFLOAT16, FLOAT16, FLOAT32, WordFormat, format_of
from fi.sampling.fault_draw import draw
from fi.sampling.plan import SamplingPlan
from fi.statistics.result_table import merge_trials

values = st.floats(width=32)


def same(left: float, right: float) -> bool:
    return left == right or (math.isnan(left) and math.isnan(right))


@given(values)
def test_float16_words_are_those_of_struct(value: float) -> None:
    try:
        (word,) = struct.unpack("<H", struct.pack("<e", value))
    except OverflowError:  # struct refuses what rounds to infinity
        word = 0xFC00 if value < 0 else 0x7C00
    found = int(FLOAT16.encode(torch.tensor([value]))[0])
    if math.isnan(value):  # which NaN is not said
        assert found & 0x7C00 == 0x7C00
        assert found & 0x3FF
    else:
        assert found == word


@given(st.integers(0, 0xFFFF))
def test_float16_values_are_those_of_struct(word: int) -> None:
    (value,) = struct.unpack("<e", struct.pack("<H", word))
    assert same(float(FLOAT16.decode(torch.tensor([word], dtype=torch.int32))[0]), value)


@given(st.integers(0, 0xFFFF))
def test_bfloat16_is_the_upper_half_of_a_float32(word: int) -> None:
    (value,) = struct.unpack("<f", struct.pack("<I", word << 16))
    found = BFLOAT16.decode(torch.tensor([word], dtype=torch.int32))
    assert same(float(found[0]), value)
    if not math.isnan(value):
        assert int(BFLOAT16.encode(found)[0]) == word


@given(values.filter(math.isfinite))
def test_bfloat16_rounds_to_nearest_even(value: float) -> None:
    (word,) = struct.unpack("<I", struct.pack("<f", value))
    half, rest = word >> 16, word & 0xFFFF
    up = rest > 0x8000 or (rest == 0x8000 and half & 1)
    assert int(BFLOAT16.encode(torch.tensor([value]))[0]) == half + up


@given(st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=1, max_size=9))
def test_int8_words_are_those_of_plain_integers(numbers: list[float]) -> None:
    form = Int8.of(torch.tensor(numbers, dtype=torch.float32))
    largest = max(map(abs, numbers))
    scale = float(np.float32(np.float32(largest) / np.float32(127))) or 1.0
    assert form.scale == scale
    words = form.encode(torch.tensor(numbers)).tolist()
    for number, word in zip(numbers, words, strict=True):
        step = round(float(np.float32(number) / np.float32(scale)))
        assert word == max(-127, min(127, step)) % 256
    decoded = form.decode(torch.tensor(words, dtype=torch.int32))
    signed = [word - 256 if word > 127 else word for word in words]
    assert decoded.tolist() == [float(np.float32(s) * np.float32(scale)) for s in signed]
    assert form.encode(decoded).tolist() == words, "a converted value keeps its word"


def converted(kind: type[torch.nn.Module], form: str) -> Subject:
    return Subject(small(kind), event_batches(INPUT_SHAPES[kind]), word_format=form)


FORMS = {
    **{"float16": 16, "bfloat16": 16, "int8": 8, "int8-channel": 8, "int4": 4, "int4-channel": 4},
    **{"fixed:4.4": 8, "fixed:2.10": 12},
}


@pytest.mark.parametrize("form", FORMS)
def test_faults_hit_the_stored_word(form: str) -> None:
    subject = converted(SmallLinear, form)
    module = subject.network.fc1
    width = FORMS[form]
    faults = [
        Fault(n, "fc1.weight", (n % 8, n % 12), bits, model)
        for n, (model, bits) in enumerate(
            (model, bits)
            for model in ("bit-flip", "stuck-at-0", "stuck-at-1")
            for bits in [(bit,) for bit in range(width)] + [(0, 2), (width - 2, width - 1)]
        )
    ]
    golden, faulty = golden_and_faulty(module, "weight", faults)
    for fault, before, after in zip(faults, golden.tolist(), faulty.tolist(), strict=True):
        scale = scale_of(subject.network, "fc1.weight", fault.index)
        wanted = oracle_value(before, form, scale, fault.bits, fault.model)
        assert same(after, wanted), f"{fault}: {before} became {after}, wanted {wanted}"
    assert (golden != faulty).sum() >= width


@pytest.mark.parametrize("form", ["int8-channel", "int4-channel"])
def test_a_channel_has_its_own_scale(form: str) -> None:
    plain, rounded = small(SmallConv), converted(SmallConv, form).network
    largest = 127 if form == "int8-channel" else 7
    weights = plain.conv1.weight.detach(), rounded.conv1.weight.detach()
    scales = [np.float32(channel.abs().max()) / np.float32(largest) for channel in weights[0]]
    assert len(set(scales)) == 3
    for before, after, scale in zip(*weights, scales, strict=True):
        for value, found in zip(before.flatten().tolist(), after.flatten().tolist(), strict=True):
            word = round(float(np.float32(value) / scale))
            assert found == float(np.float32(word) * scale)


@given(values, st.sampled_from(("fixed:4.4", "fixed:1.7", "fixed:8.16", "fixed:6.0")))
def test_fixed_words_are_those_of_plain_integers(value: float, name: str) -> None:
    form = Fixed.parse(name)
    assert form is not None
    word = form.encode(torch.tensor([value]))
    assert int(word[0]) == to_fixed(value, name) % 2**form.bits
    assert float(form.decode(word)[0]) == to_fixed(value, name) / 2**form.fraction


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", [SmallLinear, SmallConv])
def test_both_engines_count_as_the_oracle(
    campaign: Run, kind: type[torch.nn.Module], form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = converted(kind, form)
    plan = SamplingPlan(margin=0.18, models=("bit-flip", "stuck-at-1", "scale:0.5", "dead"))
    faults = draw(plan.space(subject.families, subject.steps), plan)
    golden = scores_of(subject)
    monkeypatch.setattr(Oracle, "word", word_of(subject.network, form))
    wanted = [expected(subject, trial, golden) for trial in group_trials(faults)]
    for engine in ("full", "differential"):
        results = merge_trials(campaign(subject, faults, engine=engine).run())
        for row, counts in zip(results.to_dict("records"), wanted, strict=True):
            assert {name: row[name] for name in counts} == counts, row
    assert any(counts["fully_masked"] < counts["samples"] for counts in wanted)


def test_the_space_and_the_summary_know_the_format(campaign: Run, tmp_path: Path) -> None:
    subject = converted(SmallLinear, "int8")
    space = SamplingPlan().space(subject.families, subject.steps)
    stored = [family for family in subject.families if family.width == 8]
    assert {f.attribute for f in stored} == {"weight", "bias", "beta", "threshold"}
    assert all(space.faults_per_word(family) == 8 for family in stored)
    assert space.faults_per_word(space.family("lif1.spike")) == 32
    runs = [
        campaign(each, [Fault(0, "fc1.weight", (0, 0), 7)])
        for each in (subject, subject_of(SmallLinear))
    ]
    for run in runs:
        run.run()
    folders = {run.files.path for run in runs if run.files}
    assert len(folders) == 2
    texts = [(folder / "summary.json").read_text() for folder in folders]
    assert sum('"word_format": "int8"' in text for text in texts) == 1
    assert subject.accuracy_before is not None


def test_what_has_no_words_is_refused() -> None:
    network = small(SmallLinear)
    with torch.no_grad():
        network.fc1.weight[0, 0] = math.inf
    with pytest.raises(UserError, match="infinite or NaN values has no int8 words"):
        Subject(network, event_batches((12,)), word_format="int8")
    for name in ("int5", "fixed:0.8", "fixed:16.16", "fixed:I.F", "fixed:4"):
        with pytest.raises(UserError, match=f"format '{name}'; allowed: float32, float16"):
            Subject(small(SmallLinear), event_batches((12,)), word_format=name)


def test_float32_is_what_it_was() -> None:
    subject = subject_of(SmallLinear)
    assert format_of(subject.network.fc1, "weight") is FLOAT32
    assert {family.width for family in subject.sites} == {32}
    assert subject.accuracy_before is None


@st.composite
def stored_tensors(draw: st.DrawFn) -> tuple[nn.Module, tuple[int, ...]]:
    """A tensor of any words of any format, of any rank, as stored in float32 or float64."""
    shape = draw(st.lists(st.integers(1, 3), max_size=4).map(tuple))
    form = draw(st.sampled_from((FLOAT16, BFLOAT16, FLOAT32, Int8(0.25))))
    words = st.integers(0, 2**form.bits - 1)
    size = math.prod(shape)
    drawn = [as_signed(word) for word in draw(st.lists(words, min_size=size, max_size=size))]
    values = form.decode(torch.tensor(drawn, dtype=torch.int32)).reshape(shape)
    module = nn.Module()
    module.weight = nn.Parameter(values.to(draw(st.sampled_from((torch.float32, torch.float64)))))
    vars(module)["_word_formats"] = {"weight": form}
    return module, tuple(draw(st.integers(0, length - 1)) for length in shape)


def stored_under(module: nn.Module, index: tuple[int, ...], *faults: Fault) -> torch.Tensor:
    return StoredWord(module, "weight", index, faults).value_at(0)


@given(stored_tensors(), st.sets(st.integers(0, 7), min_size=1, max_size=4))
def test_a_flip_twice_is_nothing_in_any_format(
    stored: tuple[nn.Module, tuple[int, ...]], low: set[int]
) -> None:
    module, index = stored
    form = format_of(module, "weight")
    golden = module.weight.detach()[index]
    hit = tuple(sorted(form.bits - 1 - bit for bit in low))
    flip = Fault(0, "x.weight", index, hit)
    assert are_same_words(stored_under(module, index, flip, flip), golden)
    once = stored_under(module, index, flip)
    assert once.dtype == golden.dtype
    assert not are_same_words(once, golden) or bool(golden.isnan())
    word, faulty = (form.encode(v.float().reshape(1)) for v in (golden, once))
    rounded = form.bits == 8 and {float(golden), float(once)} & {-128 * 0.25}
    if not (golden.isnan() or once.isnan() or rounded):
        assert int(word ^ faulty) & (2**form.bits - 1) == sum(1 << bit for bit in hit)


@given(
    stored_tensors(),
    st.sets(st.integers(0, 7), min_size=1, max_size=4),
    st.sampled_from(("stuck-at-0", "stuck-at-1", "dead", "stuck-value:0.3", "saturated")),
)
def test_stuck_once_is_stuck_for_good_in_any_format(
    stored: tuple[nn.Module, tuple[int, ...]], low: set[int], model: str
) -> None:
    module, index = stored
    hit = tuple(sorted(format_of(module, "weight").bits - 1 - bit for bit in low))
    fault = Fault(0, "x.weight", index, hit if model.startswith("stuck-at") else (), model)
    once = stored_under(module, index, fault)
    assert are_same_words(stored_under(module, index, fault, fault), once)
    assert are_same_words(golden_and_faulty(module, "weight", [fault])[1][0], once)


@pytest.mark.parametrize(
    ("form", "value", "hits", "wanted"),
    [
        # 0x00, 0x80 = -128, 0x81 = -127
        (Int8(0.5), 0.0, (("bit-flip", 7), ("bit-flip", 0)), -63.5),
        # 0x3C00, 0x7C00 = infinity, 0x7C01 = NaN, 0x3C01
        (FLOAT16, 1.0, (("bit-flip", 14), ("bit-flip", 0), ("stuck-at-0", 14)), 1 + 2**-10),
        # 0x3F80, 0x7F80 = infinity, 0x7F81 = NaN, 0x3F81
        (BFLOAT16, 1.0, (("bit-flip", 14), ("bit-flip", 0), ("stuck-at-0", 14)), 1 + 2**-7),
    ],
    ids=["int8", "float16", "bfloat16"],
)
def test_faults_of_one_word_find_the_word_of_the_one_before(
    form: WordFormat, value: float, hits: tuple[tuple[str, int], ...], wanted: float
) -> None:
    module = nn.Module()
    module.weight = nn.Parameter(torch.tensor([value]))
    vars(module)["_word_formats"] = {"weight": form}
    faults = [Fault(0, "x.weight", (0,), bit, model) for model, bit in hits]
    assert float(stored_under(module, (0,), *faults)) == wanted
