"""The pages of the documentation, as markdown-it reads them: blocks of code, links, names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token
from places import ROOT

#: What a line of a shell block may start with.
PROGRAMS = ("python", "make", "tensorboard", "source", "pip", "apptainer", "sbatch", "git", "cd")
_REMARK = re.compile(r"<!-- test( fi\.\w+)?: (.*?) -->", re.DOTALL)
_FILE = re.compile(r"\b[Ii]n (?:a |the )?(?:file )?`([\w./-]+\.\w+)`")


@dataclass(frozen=True)
class Block:
    """A block of code and how the test is to run it.

    Attributes:
        place: page and line, ``docs/tutorial.md:12``.
        language: of a fence; empty for an indented block.
        file: the file that the sentence before it names: ``In `my_net.py`:``.
        shrink: command -> options that are added to it, by the remarks ``<!-- test: ... -->``.
        slow: whether it takes too long for the short tests: ``<!-- test: slow -->``.
        skip: why it is not run: ``<!-- test: skip, why -->``.
    """

    place: str
    language: str
    text: str
    file: str | None
    shrink: dict[str, str] = field(default_factory=dict)
    slow: bool = False
    skip: str | None = None

    @property
    def is_shell(self) -> bool:
        words = self.text.split(maxsplit=1)
        shell = self.language in ("bash", "sh", "console")
        return shell or (not self.language and bool(words) and words[0] in PROGRAMS)


class Page:
    """A page of the documentation."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.relative_to(ROOT).as_posix()
        self.text = path.read_text(encoding="utf-8")

    @cached_property
    def tokens(self) -> list[Token]:
        return MarkdownIt("commonmark").enable("table").parse(self.text)

    @cached_property
    def blocks(self) -> list[Block]:
        return list(self._blocks())

    def _blocks(self) -> Iterator[Block]:
        remarks: list[tuple[str, str]] = []
        said = ""
        for token in self.tokens:
            if token.type == "inline":
                said = token.content
            elif token.type == "html_block":
                remarks += [(m[1] or "", m[2]) for m in _REMARK.finditer(token.content)]
            elif token.type in ("fence", "code_block"):
                assert token.map is not None
                place = f"{self.name}:{token.map[0] + 1}"
                named = _FILE.findall(said) if token.type == "fence" else []
                yield _block(place, token, named[-1] if named else None, remarks)
                remarks, said = [], ""

    @cached_property
    def inline_code(self) -> list[str]:
        """What stands between backquotes in the text."""
        inline = [token for token in self.tokens if token.type == "inline"]
        parts = [part for token in inline for part in token.children or ()]
        return [part.content for part in parts if part.type == "code_inline"]

    @cached_property
    def links(self) -> list[str]:
        inline = [token for token in self.tokens if token.type == "inline"]
        parts = [part for token in inline for part in token.children or ()]
        found = [part.attrs.get("href") or part.attrs.get("src") for part in parts]
        return [str(link) for link in found if link]

    @cached_property
    def anchors(self) -> set[str]:
        """What ``#...`` may name here, as GitHub derives it from the headings."""
        pairs = zip(self.tokens, self.tokens[1:], strict=False)
        titles = [text.content for head, text in pairs if head.type == "heading_open"]
        return {re.sub(r"[^\w\- ]", "", title).lower().replace(" ", "-") for title in titles}


def _block(place: str, token: Token, file: str | None, remarks: list[tuple[str, str]]) -> Block:
    skip, slow, shrink = None, False, {}
    for command, remark in remarks:
        if remark.startswith("skip"):
            skip = remark.removeprefix("skip").lstrip(", ")
        elif remark == "slow":
            slow = True
        else:
            shrink[command.strip() or "fi.test"] = remark
    return Block(place, token.info.strip(), token.content, file, shrink, slow, skip)


def pages() -> list[Page]:
    """README.md and the pages of docs/."""
    return [Page(path) for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))]
