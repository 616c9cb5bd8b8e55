"""What stands in a page of Markdown: tables, links, headings."""

from __future__ import annotations

import re
from pathlib import Path

from .harness import ROOT

_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)
_TABLE = re.compile(r"(?:^\|.*\|$\n?)+", re.MULTILINE)

Row = dict[str, str]


class Page:
    """A page, read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.text = path.read_text()
        self._prose = _FENCE.sub("", self.text)

    def links(self) -> list[str]:
        """Where its links and pictures lead, as written."""
        return _LINK.findall(self._prose)

    def anchors(self) -> list[str]:
        """The fragments that lead to its headings."""
        anchors: list[str] = []
        for title in _HEADING.findall(self._prose):
            anchor = re.sub(r"[^\w\- ]", "", _LINK.sub("]", title).lower()).replace(" ", "-")
            doubles = [one for one in anchors if re.fullmatch(rf"{anchor}(-\d+)?", one)]
            anchors.append(f"{anchor}-{len(doubles)}" if doubles else anchor)
        return anchors

    def tables(self, heading: str) -> list[list[Row]]:
        """The rows of each table under a heading, by the titles of its columns."""
        _, found, rest = self._prose.partition(f"# {heading}\n")
        assert found, f"{self.path.name} has no heading {heading!r}"
        tables = []
        for table in _TABLE.findall(rest.partition("\n#")[0]):
            titles, _, *rows = [_cells(line) for line in table.splitlines()]
            tables.append([dict(zip(titles, row, strict=True)) for row in rows])
        assert tables, f"{self.path.name} has no table under {heading!r}"
        return tables

    def table(self, heading: str) -> list[Row]:
        """The rows of the first of these."""
        return self.tables(heading)[0]

    def code_blocks(self, language: str) -> list[str]:
        """The blocks of code in a language."""
        return re.findall(rf"^```{language}\n(.*?)^```$", self.text, re.MULTILINE | re.DOTALL)

    def column(self, heading: str, title: str) -> list[str]:
        """What stands in backticks in a column of the first table under a heading."""
        return [name for row in self.table(heading) for name in code(row[title])]


def code(text: str) -> list[str]:
    """What stands in backticks."""
    return re.findall(r"`([^`]+)`", text)


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


PAGES = [
    Page(path)
    for pattern in ("*.md", "docs/*.md", "benchmarks/*.md", "benchmarks/figures/*.md")
    for path in sorted(ROOT.glob(pattern))
]
"""Every page of this repository."""
