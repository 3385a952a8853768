"""Mutated fault lists, configurations, results and summaries: an error is one line with its place.

``make test`` runs at most a tenth of what ``make test-slow`` runs; both print how many.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from campaigns import Run, subject_of
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from small_networks import INPUT_SHAPES, SmallLinear, event_batches, small

import fi.analyse
import fi.test
from fi.base.errors import UserError
from fi.campaign.fault_source import make_fault_source
from fi.campaign.runner import Campaign
from fi.campaign.subject import Subject
from fi.faults.fault_list import write_fault_list
from fi.network.checkpoint import load_checkpoint
from fi.sampling.fault_draw import draw
from fi.sampling.plan import SamplingPlan
from fi.store.identity import weights_hash

#: What a mutation may put in: pieces of the formats, and what has broken parsers.
PIECES = (
    *(",", '"', "'", "(", ")", "\n", "\r\n", "\r", "\t", " ", ":", "-", "#", "{", "}", "[", "]"),
    *("0", "7", "-1", "31", "32", "9" * 20, "1e9", "0x1f", "1.5", "nan", "inf", "\u0663", ""),
    *("\0", "\ufeff", "\xe9", "\U0001f642", "\x1b[31m", "\u2028", "N/A", "None", "null", "true"),
    *("fc1.weight", "lif2.spike", "bit-flip", "stuck-at-1", "dead", "(0, 0)", "()", "3-7", "3+7"),
    *(
        "../../../etc/passwd",
        "/dev/stdin",
        "file:///etc/passwd",
        "__import__('os')",
        "%s%n",
        "=1+1",
    ),
    *("!!python/object/apply:os.system ['true']", "&a [*a]", "<<: *x", "--- ", "~", "${HOME}"),
    *("[" * 3000, "x" * 300),
)
#: How an error about a configuration names what is wrong.
PLACES = "--[^ ]|(data)?mod(el|ule) .|(scheme|margin|t|p|seed|bits|models|sites) (is|are) "
Edit = tuple[float, int, int]


def edits(most: int = 4, longest: int = 12) -> st.SearchStrategy[list[Edit]]:
    """Some edits: where, how many characters go (at most ``longest``), which piece comes."""
    edit = st.tuples(st.floats(0, 1), st.integers(0, longest), st.integers(0, len(PIECES) - 1))
    return st.lists(edit, min_size=1, max_size=most)


def mutated(text: str, changes: list[Edit]) -> str:
    for place, length, piece in changes:
        start = int(place * len(text))
        text = text[:start] + PIECES[piece] + text[start + length :]
    return text


def many(examples: int) -> Callable[[Callable], Callable]:
    """Run a test on this number of mutations, the same ones every time."""
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


class Tally:
    """How many mutations were refused, and how many went through."""

    def __init__(self, name: str) -> None:
        self.name, self.counts = name, Counter[str]()

    def refused(self, message: str, place: str) -> None:
        """Check an error's message: one line that names the place, a pattern."""
        assert "\n" not in message.strip(), message
        assert len(message) < 1000, message
        assert re.search(place, message), message
        self.counts["refused"] += 1

    def __str__(self) -> str:
        total = sum(self.counts.values())
        parts = ", ".join(f"{count} {what}" for what, count in sorted(self.counts.items()))
        return f"{total} mutated {self.name}: {parts}"


@pytest.fixture
def tally(request: pytest.FixtureRequest, record_property: Callable) -> Iterator[Tally]:
    """Counts, printed at the end of the session; both kinds must have come up."""
    found = Tally(request.node.originalname.removeprefix("test_mutated_").replace("_", " "))
    yield found
    record_property("tally", str(found))
    assert min(found.counts.values()) > 0
    assert len(found.counts) == 2


@pytest.fixture(scope="module")
def linear() -> Subject:
    return subject_of(SmallLinear)


def listed(subject: Subject) -> list:
    plan = SamplingPlan(margin=0.4, models=("bit-flip", "stuck-at-1"), transient=True)
    return draw(plan.space(subject.families, subject.steps), plan)


def fuzz_fault_lists(subject: Subject, folder: Path, tally: Tally, examples: int) -> None:
    write_fault_list(folder / "whole.csv", listed(subject))
    whole, path = (folder / "whole.csv").read_text(), folder / "list.csv"

    @many(examples)
    @given(edits(most=2, longest=3))
    def mutate(changes: list[Edit]) -> None:
        data = mutated(whole, changes).encode()
        path.write_bytes(data)
        try:
            source = make_fault_source(str(path), subject, folder)
        except UserError as error:
            tally.refused(str(error), str(path))
        else:
            assert source.faults
            tally.counts["planned"] += 1
        assert path.read_bytes() == data

    mutate()


def test_mutated_fault_lists(linear: Subject, tmp_path: Path, tally: Tally) -> None:
    fuzz_fault_lists(linear, tmp_path, tally, 500)


@pytest.mark.slow
def test_mutated_fault_lists_of_the_long_run(linear: Subject, tmp_path: Path, tally: Tally) -> None:
    fuzz_fault_lists(linear, tmp_path, tally, 10_000)


class Events:
    """A datamodule of four samples."""

    def setup(self, stage: str) -> None:
        self.batches = event_batches(INPUT_SHAPES[SmallLinear], samples=4, batch=4)

    def test_dataloader(self) -> list:
        return self.batches


CONFIG = f"""\
model: small_networks.SmallLinear
data: {__name__}.Events
checkpoint: none
limit_samples: 3
readout: auto
time_axis: 0
scheme: network-wise
margin: 0.4
t: 2.58
p: 0.5
seed: 51196
faults:
  models: bit-flip,stuck-at-1
  bits: 0-31
  layers: '*'
  steps: permanent
engine: auto
accelerator: cpu
devices: '1'
num_nodes: 1
strategy: auto
precision: 32-true
memory: 100MB
shard: 1/2
output: output
progress: predictions
"""


def fuzz_configs(
    folder: Path, tally: Tally, capsys: pytest.CaptureFixture[str], examples: int
) -> None:
    path, threads = folder / "config.yaml", torch.get_num_threads()

    @many(examples)
    @given(edits(most=2, longest=3))
    def mutate(changes: list[Edit]) -> None:
        path.write_text(mutated(CONFIG, changes), encoding="utf-8", newline="")
        status = fi.test.main(["--config", str(path), "--dry-run"])
        error = capsys.readouterr().err
        if status:
            assert status == 2
            assert error.startswith("error: "), error
            tally.refused(error, f"{PLACES}|{path}")
        else:
            tally.counts["planned"] += 1
        assert not (folder / "output").exists()

    mutate()
    torch.set_num_threads(threads)


def test_mutated_configs(
    tmp_path: Path,
    tally: Tally,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    fuzz_configs(tmp_path, tally, capsys, 100)


@pytest.mark.slow
def test_mutated_configs_of_the_long_run(
    tmp_path: Path,
    tally: Tally,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    fuzz_configs(tmp_path, tally, capsys, 2_000)


@pytest.fixture
def finished(campaign: Run, linear: Subject) -> Campaign:
    """A campaign that was run to its end."""
    found = campaign(linear, listed(linear))
    found.run()
    return found


def fuzz_results(
    finished: Campaign, tally: Tally, capsys: pytest.CaptureFixture[str], examples: int
) -> None:
    """What ``fi.analyse`` says of mutated results or summaries; it changes neither."""
    folder = finished.files.path
    files = [folder / "results.csv", folder / "summary.json"]
    whole = [path.read_text() for path in files]
    words = ["--model", "SmallLinear", "--fault-list", finished.files.path.name.rpartition("-")[0]]

    @many(examples)
    @given(st.sampled_from([0, 1]), edits())
    def mutate(which: int, changes: list[Edit]) -> None:
        for path, text in zip(files, whole, strict=True):
            path.write_text(text)
        data = mutated(whole[which], changes).encode()
        files[which].write_bytes(data)
        status = fi.analyse.main([*words, "--output", str(finished.settings.output)])
        error = capsys.readouterr().err
        if status:
            tally.refused(error, str(folder))
        else:
            tally.counts["shown"] += 1
        assert files[which].read_bytes() == data
        assert files[1 - which].read_text() == whole[1 - which]

    mutate()


def test_mutated_results(
    finished: Campaign, tally: Tally, capsys: pytest.CaptureFixture[str]
) -> None:
    fuzz_results(finished, tally, capsys, 100)


@pytest.mark.slow
def test_mutated_results_of_the_long_run(
    finished: Campaign, tally: Tally, capsys: pytest.CaptureFixture[str]
) -> None:
    fuzz_results(finished, tally, capsys, 2_000)


def fuzz_continued(campaign: Run, finished: Campaign, tally: Tally, examples: int) -> None:
    """A campaign over mutated results or summaries: continued, or refused and left as they are."""
    folder = finished.files.path
    files = [folder / "results.csv", folder / "summary.json"]
    whole = [path.read_text() for path in files]
    half = whole[0][: len(whole[0]) // 2]

    @many(examples)
    @given(st.sampled_from([0, 1]), edits(most=1))
    def mutate(which: int, changes: list[Edit]) -> None:
        files[0].write_text(half)
        files[1].write_text(whole[1])
        data = mutated([half, whole[1]][which], changes).encode()
        files[which].write_bytes(data)
        before = files[0].read_bytes()
        try:
            campaign(finished.subject, finished.faults).run()
        except UserError as error:
            tally.refused(str(error), str(folder))
            assert files[which].read_bytes() == data
        else:
            tally.counts["continued"] += 1
            kept = before[: before.rfind(b"\n") + 1]
            assert files[0].read_bytes().startswith(kept)

    mutate()


def test_mutated_results_to_continue(campaign: Run, finished: Campaign, tally: Tally) -> None:
    fuzz_continued(campaign, finished, tally, 20)


@pytest.mark.slow
def test_mutated_results_to_continue_in_the_long_run(
    campaign: Run, finished: Campaign, tally: Tally
) -> None:
    fuzz_continued(campaign, finished, tally, 200)


@many(100)
@given(st.integers(0, 10**6), st.integers(0, 40), st.binary(max_size=20))
def test_mutated_checkpoints(
    tmp_path_factory: pytest.TempPathFactory, start: int, length: int, piece: bytes
) -> None:
    network, path = small(SmallLinear), tmp_path_factory.getbasetemp() / "weights.pt"
    torch.save(small(SmallLinear, seed=5).state_dict(), path)
    data = path.read_bytes()
    start %= len(data)
    path.write_bytes(data[:start] + piece + data[start + length :])
    before, message = weights_hash(network), str(path)
    try:
        load_checkpoint(network, path)
    except UserError as error:
        message = str(error)
        assert weights_hash(network) == before
        assert str(path) in message
    assert "\n" not in message


def test_no_yaml_builds_an_object(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    touched, path = tmp_path / "touched", tmp_path / "config.yaml"
    bomb = (
        f"!!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path [{touched}]]"
    )
    for text in (f"model: {bomb}", f"seed: {bomb}", bomb, f"faults:\n  bits: {bomb}"):
        path.write_text(f"{CONFIG}{text}\n" if ":" in text[:8] else f"{text}\n")
        assert fi.test.main(["--config", str(path), "--dry-run"]) == 2
        assert capsys.readouterr().err.startswith("error: ")
        assert not touched.exists()


def test_a_fault_list_names_no_file(linear: Subject, tmp_path: Path) -> None:
    """Whatever stands for a layer or model is looked up among names; no path in it is opened."""
    secret = tmp_path / "fc1.weight"
    secret.write_text("secret")
    opened: list[str] = []
    audited.append(opened.append)
    path = tmp_path / "list.csv"
    for row in (
        f'0,{secret},"(0, 0)",1,bit-flip,',
        f'0,fc1.weight,"(0, 0)",1,{secret},',
        f"0,fc1.weight,{secret},1,bit-flip,",
        f'0,fc1.weight,"(0, 0)",{secret},bit-flip,',
        f'0,fc1.weight,"(0, 0)",1,stuck-value:{secret},',
    ):
        path.write_text(f"Injection,Layer,TensorIndex,Bit,Model,Step\n{row}\n")
        with pytest.raises(UserError, match=r"list\.csv:2: ") as error:
            make_fault_source(str(path), linear, tmp_path)
        assert "secret" not in str(error.value).replace(str(secret), "")
    audited.clear()
    assert str(path) in opened
    assert str(secret) not in opened


#: Who hears of every file that is opened; an audit hook cannot be removed.
audited: list[Callable[[str], object]] = []


def _audit(event: str, arguments: tuple) -> None:
    if event == "open":
        for hear in audited:
            hear(str(arguments[0]))


sys.addaudithook(_audit)
