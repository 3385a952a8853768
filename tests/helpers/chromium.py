"""A page in headless Chromium: what a browser makes of it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Any

#: Waits for nothing: the pages have no script of their own.
_MEASURE = """
<script>
const frame = document.getElementById("page");
frame.onload = () => {
  const inner = frame.contentDocument, view = frame.contentWindow;
  const seen = (element) => {
    const box = element.getBoundingClientRect();
    return view.getComputedStyle(element).display !== "none" && box.width > 0 && box.height > 0
      ? {width: box.width, height: box.height, right: box.right} : null;
  };
  const figures = {};
  for (const figure of inner.querySelectorAll("figure"))
    figures[figure.id] = [...figure.querySelectorAll("svg")].map(seen).filter((box) => box);
  const result = {
    width: inner.documentElement.clientWidth,
    scrolled: inner.documentElement.scrollWidth,
    height: inner.documentElement.scrollHeight,
    tables: inner.querySelectorAll("table").length,
    text: inner.body.innerText,
    figures,
  };
  const report = document.createElement("pre");
  report.id = "measured";
  report.textContent = JSON.stringify(result);
  document.body.append(report);
};
</script>
"""


def chromium() -> str | None:
    """The binary, if there is one."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return next((path for name in names if (path := shutil.which(name))), None)


@dataclass(frozen=True)
class Opened:
    """What Chromium says of a page.

    Attributes:
        width, scrolled: of the window and of its content, in CSS pixels.
        figures: id -> the boxes of its visible images.
        text: what is to be read.
        console: messages of the console.
    """

    width: int
    scrolled: int
    figures: dict[str, list[dict[str, float]]]
    text: str
    console: list[str]


def open_page(page: Path, width: int, folder: Path) -> Opened:
    """Open a page in a window ``width`` CSS pixels wide and measure it."""
    frame = (
        f'<iframe id="page" src="{page.as_uri()}" style="width:{width}px;height:900px;border:0">'
    )
    harness = folder / f"window_{width}.html"
    harness.write_text(f"<!DOCTYPE html><body>{frame}</iframe>{_MEASURE}</body>")
    dom, console = _run(harness, folder, "--allow-file-access-from-files", "--dump-dom")
    measured = re.search('<pre id="measured">(.*?)</pre>', dom, re.DOTALL)
    assert measured, f"nothing was measured: {dom[-500:]}{console}"
    found: dict[str, Any] = json.loads(unescape(measured[1]))
    return Opened(found["width"], found["scrolled"], found["figures"], found["text"], console)


def console_of(page: Path, folder: Path) -> list[str]:
    """Messages of the console when the page is opened on its own."""
    return _run(page, folder, "--dump-dom")[1]


def _run(page: Path, folder: Path, *options: str) -> tuple[str, list[str]]:
    binary = chromium()
    assert binary is not None
    command = [
        binary, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
        "--disable-dev-shm-usage", "--enable-logging=stderr", "--log-level=0",
        "--virtual-time-budget=10000", f"--user-data-dir={folder / 'profile'}", *options,
        page.as_uri(),
    ]  # fmt: skip
    environment = {**os.environ, "HOME": str(folder)}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, check=True, env=environment
    )
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return done.stdout, console
