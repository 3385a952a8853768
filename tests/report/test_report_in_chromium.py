"""The report in a browser, as wide as a desktop and as a phone."""

from __future__ import annotations

from pathlib import Path

import pytest
from chromium import chromium, console_of, open_page
from past_campaigns import design, some_faults, write_campaign

from fi.report.comparison import Side, compare
from fi.report.comparison_page import comparison_page
from fi.report.findings import Findings
from fi.report.page import pictures, write_report
from fi.store.campaign_reader import PastCampaign

pytestmark = pytest.mark.skipif(chromium() is None, reason="no Chromium: apt install chromium")
FAULTS = some_faults(200, step=5)
SDC = [(fault.bits[0] > 20) * (fault.injection % 9) for fault in FAULTS]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("output")
    draw = design("network-wise", steps="012345").record()
    folder = write_campaign(root / "Net" / "7_fault_list-ab", FAULTS, SDC, draw=draw)
    write_report(folder)
    return folder


@pytest.mark.parametrize("width", [1280, 390], ids=["desktop", "phone"])
def test_every_figure_is_seen_and_fits(folder: Path, tmp_path: Path, width: int) -> None:
    page = open_page(folder / "report.html", width, tmp_path)
    wanted = [picture.name for picture in pictures(Findings.of(PastCampaign(folder)))]
    assert "steps" in wanted
    assert set(page.figures) == set(wanted)
    for name, boxes in page.figures.items():
        assert len(boxes) == 1, name
        assert boxes[0]["width"] > 0.2 * min(width, 1000)
        legible = name.startswith("sites-") or boxes[0]["width"] >= 500
        assert legible, f"{name}: too small to be read"
    assert page.scrolled <= page.width <= width  # tables and figures scroll in themselves
    assert "Most vulnerable:" in page.text
    assert page.console == []


def test_the_console_is_silent(folder: Path, tmp_path: Path) -> None:
    assert console_of(folder / "report.html", tmp_path) == []
    broken = tmp_path / "broken.html"
    text = (folder / "report.html").read_text()
    broken.write_text(text.replace("<main>", '<img src="https://example.org/x.png"><main>'))
    assert console_of(broken, tmp_path)  # whatever came from elsewhere would be seen


def test_the_comparison_page(folder: Path, tmp_path: Path) -> None:
    side = Side.read(folder)
    page = tmp_path / "compare.html"
    page.write_text(comparison_page(compare(side, side)))
    for width in (1280, 390):
        seen = open_page(page, width, tmp_path)
        assert len(seen.figures["difference"]) == 1
        assert seen.scrolled <= width
        assert seen.console == []
