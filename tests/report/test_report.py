"""``report.html``: what it says is what the results say, for any campaign."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from html.parser import HTMLParser
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from campaigns import Run
from past_campaigns import FAMILIES, SAMPLES, counts_of, design, some_faults, write_campaign

from fi.campaign.subject import Subject
from fi.faults.fault import Fault, group_trials
from fi.report.command import main
from fi.report.facts import facts
from fi.report.figures.grid import Grid
from fi.report.figures.rates_by_bit import share_of_sdc
from fi.report.figures.site_maps import laid_out, pooled, words_of
from fi.report.findings import Findings, first_step, highest_bit
from fi.report.headline import headline
from fi.report.page import page, pictures, write_figures, write_report
from fi.report.rates import sdc_by
from fi.report.sections import critical_faults
from fi.statistics.histogram import Histogram
from fi.statistics.intervals import interval
from fi.statistics.survey_design import Design, FamilyFaults
from fi.store.campaign_reader import PastCampaign
from fi.store.results_file import ResultsFile

FAULTS = some_faults(300)
#: High bits do harm, so that there is something to find.
SDC = [
    0 if fault.bits[0] < 20 else (fault.injection % 7) * (fault.bits[0] - 19) // 3
    for fault in FAULTS
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("output")
    return write_campaign(root / "Net" / "7_fault_list-ab", FAULTS, SDC)


@pytest.fixture(scope="module")
def found(folder: Path) -> Findings:
    return Findings.of(PastCampaign(folder))


@pytest.fixture(scope="module")
def text(found: Findings) -> str:
    """The page."""
    return page(found)


class Parsed(HTMLParser):
    """The ids, links and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in ("href", "src", "xlink:href", "action", "srcset"):
                self.links.append(value or "")

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_the_page_has_every_figure_and_needs_no_other_file(found: Findings, text: str) -> None:
    parsed = Parsed(text)
    names = [picture.name for picture in pictures(found)]
    assert {"outcomes", "bits", "accuracy", "decided", "sites-fc1.weight"} <= set(names)
    assert set(names) <= set(parsed.ids)
    assert len(parsed.ids) == len(set(parsed.ids))
    assert not [link for link in parsed.links if not link.startswith(("#", "data:"))]
    outside = re.findall(r"url\((?!#|['\"]?data:)[^)]*\)|@import|<script|<link", text)
    assert not outside
    assert "Data &lt;&amp;&gt;" in text
    for picture in pictures(found):
        assert picture.stands_on in " ".join(parsed.text)
        if not picture.name.startswith("sites-"):
            assert picture.reading.split("%")[0] in " ".join(parsed.text)


def test_what_refers_to_an_id_finds_it(text: str) -> None:
    ids = set(Parsed(text).ids)
    referred = re.findall(r'(?:xlink:href="|href="|url\()#([^")]+)', text)
    assert len(referred) > 50
    assert set(referred) <= ids


def test_figures_are_svg_files_of_text(folder: Path, tmp_path: Path) -> None:
    paths = write_figures(folder, tmp_path / "figures")
    again = write_figures(folder, tmp_path / "again")
    for path, other in zip(paths, again, strict=True):
        root = ET.fromstring(path.read_text())
        assert root.tag.endswith("}svg")
        assert path.read_bytes() == other.read_bytes()
    text = (tmp_path / "figures" / "outcomes.svg").read_text()
    for name in FAMILIES:
        assert f"{name} " in text
    assert "Verdana" in text


def test_the_headline_says_what_the_results_say(folder: Path, found: Findings) -> None:
    rows = pd.read_csv(folder / "results.csv")
    text = " ".join(headline(found)).replace("\u00a0", " ")
    rate = 100 * rows["sdc_1"].sum() / rows["samples"].sum()
    assert text.startswith(f"{rate:.3g} % (99 % interval ")
    assert f"{100 * rows['correct'].sum() / rows['samples'].sum():.2f} % on average" in text
    by_bit = rows.groupby("Bit")["sdc_1"].mean()  # of every bit there are as many faults
    by_bit /= by_bit.sum()
    assert f"bit {by_bit.idxmax()} {100 * by_bit.max():.3g} %" in text
    never = int((rows["fully_masked"] == rows["samples"]).sum())
    assert f"{never} of 300 faults that were run change no score" in text
    worst = rows["sdc_1"].sort_values(ascending=False).cumsum()
    few = int((worst < 0.9 * worst.iloc[-1]).sum()) + 1
    assert f"{few} faults ({100 * few / 300:.3g} %) cause 90 %" in text


def test_most_vulnerable_is_the_family_with_the_highest_lower_end(found: Findings) -> None:
    assert found.table is not None
    lows = found.table.loc["SDC_1 low", list(found.families)]
    (sentence,) = [s for s in headline(found) if s.startswith("Most vulnerable")]
    assert sentence.startswith(f"Most vulnerable: {lows.astype(float).idxmax()}, ")
    highs = found.table.loc["SDC_1 high", list(found.families)]
    least = [s for s in headline(found) if s.startswith("Least vulnerable")]
    safest = highs.astype(float).idxmin()
    assert len(least) == (safest != lows.astype(float).idxmax())  # one family may be surest twice
    assert all(s.startswith(f"Least vulnerable: {safest}, ") for s in least)


def test_a_layer_wise_draw_weighs_the_bits_by_the_layers(tmp_path: Path) -> None:
    """Of 240 words in fc1 bit 30 does harm, of 4 in lif2 bit 31."""
    faults = [
        Fault(n, *site, bit)
        for n, (site, bit) in enumerate(
            product((("fc1.weight", (0, 0)), ("lif2.spike", (0,))), (30, 31))
        )
    ]
    bits = {"bit-flip": ("30", "31")}
    families = FamilyFaults("fc1.weight", 240, bits), FamilyFaults("lif2.spike", 4, bits)
    by_strata = dict.fromkeys(("layer-wise", "family-wise", "data-unaware"), 240 / 244)
    wanted = {"network-wise": 0.5, "list": 0.5, **by_strata}
    for scheme, part in wanted.items():
        draw = Design(scheme, families).record()
        folder = write_campaign(tmp_path / f"{scheme}-ab", faults, [5, 0, 0, 5], draw=draw)
        found = Findings.of(PastCampaign(folder))
        share = share_of_sdc(found)
        assert share[30] == pytest.approx(part)
        assert share.sum() == pytest.approx(1)
        by_bit = found.sdc_by("bit").set_index("bit")
        mean = 0.1 * part if scheme not in ("network-wise", "list") else 0.05
        assert by_bit["sdc_1"]["30"] == pytest.approx(mean)


def test_a_cell_of_a_draw_by_bits_weighs_its_bits(tmp_path: Path) -> None:
    """Of each bit of fc1.weight there are 240 x 2 faults, however many were run."""
    steps = tuple("01")
    bits = {"bit-flip": ("3", "30")}
    draw = Design("data-unaware", (FamilyFaults("fc1.weight", 240, bits),), steps)
    ran = [(3, 0), (3, 0), (3, 0), (30, 0), (30, 1)]
    faults = [Fault(n, "fc1.weight", (0, n), b, "bit-flip", s) for n, (b, s) in enumerate(ran)]
    folder = write_campaign(tmp_path / "x-ab", faults, [0, 0, 0, 10, 20], draw=draw.record())
    found = Findings.of(PastCampaign(folder))
    # at step 0 the mean of bit 3, 0, and of bit 30, 0.2; at step 1 bit 30 alone
    by_step = found.sdc_by("family", "step")
    assert by_step["sdc_1"].tolist() == pytest.approx([0.1, 0.4])
    grid = Grid.of(by_step.assign(first=[0, 1]), ["fc1.weight"], "first", [0, 1])
    np.testing.assert_allclose(grid.rates, [[10.0, 40.0]])
    samples = [Histogram.of([0.0] * 3, 240, 0.5), Histogram.of([0.2], 240, 0.5)]
    assert tuple(by_step.loc[0, ["sdc_1 low", "sdc_1 high"]]) == pytest.approx(interval(samples))


def test_rows_of_one_cell_are_weighed_by_their_faults() -> None:
    rows = pd.DataFrame(
        [["a", 5, 0.1, 0.75], ["a", 5, 0.5, 0.25], ["b", 5, 0.3, 1.0]],
        columns=["family", "highest", "sdc_1", "speaks_for"],
    )
    grid = Grid.of(rows, ["a", "b"], "highest", [6, 5])
    np.testing.assert_allclose(grid.rates, [[np.nan, 20.0], [np.nan, 30.0]])


def test_critical_faults_are_the_worst_with_their_values(found: Findings) -> None:
    worst = sorted(FAULTS, key=lambda f: (-SDC[f.injection], f.injection))[:20]
    rows = critical_faults(found)
    assert [row.injection for row in rows] == [fault.injection for fault in worst]
    for row, fault in zip(rows, worst, strict=True):
        assert row.site == str(fault).partition(" in ")[2]
        assert row.what == f"bit-flip, bit {fault.bits[0]}"
        stored = not fault.layer.endswith(("potential", "spike"))
        assert row.golden == ("0.5" if stored else "")
        assert row.faulty == (f"{2.0 ** fault.bits[0]:.6g}" if stored else "")
        assert row.sdc.replace("\u00a0", " ") == f"{100 * SDC[fault.injection] / SAMPLES:.3g} %"


def test_words_on_the_map_are_the_worst_of_their_faults(found: Findings) -> None:
    values = words_of(found, "fc1.weight")
    wanted = np.full(FAMILIES["fc1.weight"], np.nan)
    for fault in FAULTS:
        if fault.layer == "fc1.weight":
            wanted[fault.index] = np.fmax(wanted[fault.index], 100 * SDC[fault.injection] / SAMPLES)
    np.testing.assert_allclose(values, wanted)
    assert np.isnan(wanted).any()
    assert np.nanmax(wanted) > 0


def test_layouts_keep_every_word() -> None:
    for shape in ((), (7,), (4, 60), (60, 4), (3, 4, 5), (3, 2, 2, 2), (2, 3, 2, 2, 2)):
        values = np.arange(1.0, 1 + np.prod(shape, dtype=int)).reshape(shape)
        image = laid_out(values)
        assert image.ndim == 2
        assert sorted(image[np.isfinite(image)]) == sorted(values.ravel())
    tiles = laid_out(np.arange(24.0).reshape(2, 3, 4))
    np.testing.assert_array_equal(tiles[:, :4], np.arange(12.0).reshape(3, 4))
    np.testing.assert_array_equal(tiles[:, 5:], np.arange(12.0, 24.0).reshape(3, 4))
    kernels = laid_out(np.arange(24.0).reshape(2, 3, 2, 2))
    assert kernels[3, 4] == 17  # output 1, input 1, its second entry
    image = np.full((1000, 30), np.nan)
    image[999, 29], image[0, 0], image[1, 1] = 4.0, 1.0, 2.0
    small = pooled(image)
    assert (small[0, 0], small[-1, -1], np.isfinite(small).sum()) == (2.0, 4.0, 2)


def test_transient_faults_have_a_figure_over_time(tmp_path: Path) -> None:
    faults = some_faults(120, step=5)
    sdc = [(5 - fault.steps[0]) * (fault.bits[0] > 25) for fault in faults]
    draw = design("network-wise", steps="012345").record()
    found = Findings.of(PastCampaign(write_campaign(tmp_path / "t-ab", faults, sdc, draw=draw)))
    assert "steps" in [picture.name for picture in pictures(found)]
    assert "time step of the fault" in page(found)
    assert all(row.step for row in critical_faults(found))


def test_trials_of_several_faults_and_of_whole_words(tmp_path: Path) -> None:
    trials = [
        (Fault(0, "fc1.weight", (0, 1), (3, 4, 5)), Fault(0, "fc1.weight", (0, 2), (7,))),
        (Fault(1, "lif1.beta", (2,), (30,)), Fault(1, "fc1.weight", (3, 3), (30,))),
        (Fault(2, "lif2.spike", (0,), (), "dead", range(2, 5)),),
    ]
    folder = write_campaign(
        tmp_path / "x-ab", [f for trial in trials for f in trial], [0] * 5, trials=3,
        draw=Design.of_list(FAMILIES).record(),
    )  # fmt: skip
    (folder / "results.csv").unlink()
    ResultsFile(folder / "results.csv").append(trials, counts_of([10, 20, 30]))
    found = Findings.of(PastCampaign(folder))
    assert found.families == ["fc1.weight", "lif2.spike", "several"]
    assert found.faults["bit"].tolist() == [5, 30, -1]
    assert found.faults["step"].tolist() == [-1, -1, 2]
    names = {picture.name for picture in pictures(found)}
    assert {"bits", "steps", "sites-fc1.weight", "sites-lif1.beta", "sites-lif2.spike"} <= names
    assert words_of(found, "fc1.weight")[3, 3] == 40
    assert [row.site for row in critical_faults(found)] == [
        "lif2.spike[0]",
        "lif1.beta[2]; fc1.weight[3, 3]",
        "fc1.weight[0, 1]; fc1.weight[0, 2]",
    ]
    assert critical_faults(found)[0].what == "dead"
    assert found.listed == 3
    text = page(found)
    assert "several" in text
    assert "not finished" not in text
    assert "A fault of several bits stands at its highest" in text


def test_permanent_faults_have_none(found: Findings) -> None:
    assert "steps" not in [picture.name for picture in pictures(found)]


@pytest.mark.parametrize(
    ("faults", "sdc", "non_finite", "message"),
    [
        (FAULTS[:1], [0], None, "No fault changed a predicted class"),
        (FAULTS[:1], [50], None, "100 %"),
        (FAULTS, [0] * 300, None, "No fault changed a predicted class"),
        (FAULTS, [50] * 300, [50] * 300, "300 faults make a score infinite or not a number"),
    ],
    ids=["one masked fault", "one harmful fault", "all masked", "nothing finite"],
)
def test_odd_campaigns_have_a_page(
    tmp_path: Path, faults: list[Fault], sdc: list[int], non_finite: list[int] | None, message: str
) -> None:
    folder = write_campaign(tmp_path / "x-ab", faults, sdc, non_finite)
    text = write_report(folder).read_text()
    assert message in text.replace("\u00a0", " ")
    assert 'id="outcomes"' in text
    assert "nan" not in re.sub(r"nano|NaN", "", " ".join(Parsed(text).text))


def test_a_campaign_without_a_finished_fault_says_so(tmp_path: Path) -> None:
    folder = write_campaign(tmp_path / "x-ab", FAULTS[:2], [0, 1], status="interrupted")
    (folder / "results.csv").write_text((folder / "results.csv").read_text().split("\n")[0] + "\n")
    text = write_report(folder).read_text()
    assert "No fault is finished yet" in text
    assert "0 of the 2 faults" in text
    assert "not finished (interrupted)" in text
    assert "<svg" not in text


def test_what_is_not_finished_is_said(tmp_path: Path) -> None:
    folder = write_campaign(
        tmp_path / "x-ab", FAULTS, SDC, status="interrupted", decided={"forward": 2500}
    )
    rows = (folder / "results.csv").read_text().split("\n")
    (folder / "results.csv").write_text("\n".join(rows[:101]) + "\n")
    text = write_report(folder).read_text()
    assert "100 of the 300 faults" in text
    assert "n: 2,500 pairs of a fault and a sample of 5,000; the others ran" in text


@pytest.mark.parametrize(("field", "bit"), [("11", 11), ("3-5", 5), ("3+7+9", 9), ("", -1)])
def test_bits_of_every_form(field: str, bit: int) -> None:
    assert highest_bit(field) == bit


@pytest.mark.parametrize(("field", "step"), [("5", 5), ("3-7", 3), ("", -1)])
def test_steps_of_every_form(field: str, step: int) -> None:
    assert first_step(field) == step


def test_a_real_campaign(campaign: Run, subject: Subject, faults: list[Fault]) -> None:
    run = campaign(subject, faults)
    results = run.run()
    found = Findings.of(PastCampaign(run.files.path))
    text = write_report(run.files.path).read_text()
    assert f"{len(faults)} faults of faults" in text
    assert found.rate("SDC_1")[0] == pytest.approx(
        (results["sdc_1"] / results["samples"]).mean(), abs=1e-12
    )
    assert 0 < found.rate("SDC_1")[0] < 1


def test_the_command_writes_page_and_figures(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--model=Net", "--fault-list=7_fault_list", f"--output={folder.parent.parent}"]
    assert main([*arguments, f"--figures={tmp_path / 'svg'}"]) == 0
    assert f"Written to {folder / 'report.html'}" in capsys.readouterr().out
    assert (tmp_path / "svg" / "sites-fc1.weight.svg").exists()
    assert main(["--model=Net", "--fault-list=8_fault_list", arguments[2]]) == 2
    assert "there are campaigns on: 7_fault_list" in capsys.readouterr().err


def test_a_damaged_summary_is_named(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "x-ab").mkdir()
    (tmp_path / "x-ab" / "results.csv").write_bytes((folder / "results.csv").read_bytes())
    entries = json.loads((folder / "summary.json").read_text())
    del entries["samples"]
    (tmp_path / "x-ab" / "summary.json").write_text(json.dumps(entries))
    with pytest.raises(ValueError, match="the key 'samples' is missing"):
        write_report(tmp_path / "x-ab")


def test_bits_have_their_intervals_in_a_table(found: Findings) -> None:
    table = sdc_by(found, "bit")
    assert table is not None
    assert sdc_by(found, "step") is None
    assert table.headings == ["all", *FAMILIES]
    assert [row.name for row in table.rows] == [str(bit) for bit in range(31, -1, -1)]
    assert sum(int(row.faults) for row in table.rows) == 300
    harm = [sdc for fault, sdc in zip(FAULTS, SDC, strict=True) if fault.bits == (30,)]
    words = sum(int(np.prod(shape, dtype=int)) for shape in FAMILIES.values())
    rate = float(np.mean(harm)) / SAMPLES
    low, high = interval([Histogram.of(np.array(harm) / SAMPLES, words)])
    cell = table.rows[1].cells[0]
    assert cell.rate == f"{100 * rate:.3f}"
    assert cell.ends == f"{100 * low:.3f} to {100 * high:.3f} *"  # wide
    empty = [cell for row in table.rows for cell in row.cells if not cell.rate]
    drawn = {(fault.layer, fault.bits) for fault in FAULTS}
    assert len(empty) == 32 * len(FAMILIES) - len(drawn) > 0
    assert f"{cell.rate}<small>{cell.ends}</small>" in page(found)


def test_the_space_of_trials_is_said(tmp_path: Path) -> None:
    faults = [Fault(n // 2, "fc1.weight", (0, n), 30) for n in range(4)]
    for together, said in ((2, "57,111,328 trials of 2 faults"), (9, "about 10^30 trials of 9")):
        draw = replace(design("network-wise"), together=together).record()
        folder = write_campaign(tmp_path / f"{together}-ab", faults, [0] * 4, trials=2, draw=draw)
        (folder / "results.csv").unlink()
        ResultsFile(folder / "results.csv").append(group_trials(faults), counts_of([10, 20]))
        known = dict(facts(Findings.of(PastCampaign(folder))))
        assert known["fault space"].startswith(said)
        assert known["faults"].startswith("2 trials of 7_fault_list.csv")
