"""The documentation does what it says: its commands run, its files appear, its links resolve."""

from __future__ import annotations

import json
import re
from importlib.util import find_spec
from pathlib import Path

import pytest
from campaigns import Run
from markdown_pages import ROOT, Block, Page, pages
from page_session import SHARED, PageSession, options

from fi.campaign.subject import Subject
from fi.faults.csv_row import FAULT_COLUMNS
from fi.faults.fault import Fault
from fi.faults.models import FAULT_MODELS
from fi.statistics.result_table import NON_FINITE, OVERALL, PUBLISHED_ROWS
from fi.store.results_rows import RESULT_COLUMNS

PAGES = {page.name: page for page in pages()}
BLOCKS = [block for page in PAGES.values() for block in page.blocks]
APPTAINER = ("--nv", "--bind", "--pwd")
SLURM = ("--array", "--nodes", "--ntasks-per-node", "--requeue", "--constraint")
#: Options of our commands; those of other programs that the pages call.
OPTIONS = set(re.findall(r"(?<=[`, ])--[a-z][\w.-]*", options.tables())) | {
    *("--help", "--logdir", "--model.readout", *APPTAINER, *SLURM),  # the third is of NIR files
    *(f"--model.{name}" for block in BLOCKS for name in re.findall(r"(\w+): \w+ =", block.text)),
}


def why_not(block: Block) -> str | None:
    """Why this block is not run here."""
    if any("$SHARED" in options for options in block.shrink.values()) and not SHARED.is_dir():
        return "the recordings are not here"
    if "fi.export" in block.text and find_spec("nir") is None:
        return "the nir package is not installed"
    return block.skip


@pytest.fixture
def session(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> PageSession:
    return PageSession(workplace, monkeypatch)


def run_page(page: Page, session: PageSession, slow: bool) -> None:
    """Run the page from top to bottom, and look for the files that it names."""
    for block in page.blocks:
        if not why_not(block) and (slow or not block.slow):
            session.run(block)
    left_out = any(
        (block.slow and not slow) or (why_not(block) and not block.skip) for block in page.blocks
    )
    if not left_out:
        missing = [name for name in written_files(page) if not session.wrote(name)]
        assert not missing, f"{page.name} names files that were not written: {missing}"


def written_files(page: Page) -> set[str]:
    """The files below output/ of which the page speaks."""
    found = set()
    for name in page.inline_code:
        if re.match(r"(fault_list/)?<model>/\S+$", name):
            found.add(f"output/{name}")
        elif re.match(r"output/\S+$", name):
            found.add(name)
    return found


@pytest.mark.parametrize("name", PAGES)
def test_a_page_runs(name: str, session: PageSession) -> None:
    run_page(PAGES[name], session, slow=False)


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n, p in PAGES.items() if any(b.slow for b in p.blocks)])
def test_a_whole_page_runs(name: str, session: PageSession) -> None:
    run_page(PAGES[name], session, slow=True)


@pytest.mark.parametrize("block", [b for b in BLOCKS if why_not(b)], ids=lambda b: b.place)
def test_not_run(block: Block) -> None:
    """What no test runs, and why."""
    pytest.skip(f"{block.place}: {why_not(block)}")


def test_almost_everything_is_run() -> None:
    assert len([block for block in BLOCKS if block.is_shell or block.file]) > 15
    assert len([block for block in BLOCKS if block.skip]) <= 5
    assert all(len(block.skip) > 10 for block in BLOCKS if block.skip is not None)


@pytest.mark.parametrize("name", PAGES)
def test_links_resolve(name: str) -> None:
    page = PAGES[name]
    for link in page.links:
        path, _, anchor = link.partition("#")
        if ":" in path:
            continue
        target = (page.path.parent / path).resolve() if path else page.path
        assert target.exists(), f"{name}: the link {link} leads nowhere"
        if anchor:
            assert anchor in Page(target).anchors, f"{name}: {link}: no such heading"


@pytest.mark.parametrize("name", PAGES)
def test_options_exist(name: str) -> None:
    """Those in the text, too, and in commands that are not run."""
    page = PAGES[name]
    inline = [code for code in page.inline_code if re.match("--|fi\\.|python -m fi", code)]
    for text in (*(block.text for block in page.blocks if block.is_shell), *inline):
        for option in re.findall(r"(?<![\w-])--[a-z][\w.-]*", text):
            assert option in OPTIONS, f"{name}: there is no option {option}: {text}"


@pytest.mark.parametrize("name", PAGES)
def test_places_in_the_repository_exist(name: str) -> None:
    place = re.compile(r"(?:fi|models|datamodules|callbacks|configs|tests|docs)/[\w./-]*")
    named = [code for code in PAGES[name].inline_code if place.fullmatch(code)]
    made = {block.file for block in BLOCKS if block.file}
    missing = [code for code in named if not (ROOT / code).exists() and code not in made]
    assert not missing, f"{name} names {missing}"


def test_the_options_of_the_reference_are_current() -> None:
    page = options.PAGE.read_text(encoding="utf-8")
    assert page == options.renewed(page), "docs/reference.md: run make docs"


def test_the_reference_has_every_column() -> None:
    explained = set(PAGES["docs/reference.md"].inline_code)
    columns = {*RESULT_COLUMNS, *FAULT_COLUMNS, *PUBLISHED_ROWS, NON_FINITE, OVERALL}
    assert columns <= explained
    ours = {
        name for name, model in FAULT_MODELS.items() if model.__module__.startswith("fi.faults.")
    }
    assert ours <= {code.partition(":")[0] for code in explained}


def test_the_reference_has_every_key_of_the_summary(
    campaign: Run, subject: Subject, faults: list[Fault]
) -> None:
    run = campaign(subject, faults)
    run.run()
    summary = json.loads((run.files.path / "summary.json").read_text(encoding="utf-8"))
    nested = {key for part in ("hashes", "machine") for key in summary[part]}
    nested |= set(summary["families"][0])
    missing = (set(summary) | nested) - set(PAGES["docs/reference.md"].inline_code)
    assert not missing
