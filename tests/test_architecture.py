"""docs/architecture.md keeps up with the code: its picture, and the files of its stories."""

from __future__ import annotations

import ast
import re
import runpy
from itertools import groupby

import pytest

from .support.harness import ROOT

PAGE = (ROOT / "docs" / "architecture.md").read_text()
DRAW = "docs/figures/rooms.py"

STORIES = {
    title: re.findall(r"^\d+\. `(\S+\.py)` `(\S+)`", story, re.MULTILINE)
    for title, story in re.findall(r"^### (.+)\n((?:(?!#).*\n)+)", PAGE, re.MULTILINE)
}
"""The files of each story, each with the name in it where the story goes on."""


def test_the_picture_shows_the_imports_as_they_are() -> None:
    program = runpy.run_path(str(ROOT / DRAW))
    drawn = (ROOT / "docs" / "figures" / "rooms.svg").read_text()
    assert drawn == program["draw"](), f"the picture is stale: run `python {DRAW}`"


def test_the_picture_has_every_room_in_a_place_of_its_own() -> None:
    program = runpy.run_path(str(ROOT / DRAW))
    rooms = program["read_rooms"]()
    folders = {path.parent.name for path in (ROOT / "sanic_chat").glob("*/__init__.py")}
    assert folders < rooms.keys()
    for room in rooms.values():
        assert room.caption, f"{room.title} has no docstring"
        assert all(rooms[imported].floor > room.floor for imported in room.imports)


def test_the_page_has_its_stories() -> None:
    assert len(STORIES) == 8
    assert all(len(steps) >= 3 for steps in STORIES.values())


@pytest.mark.parametrize("title", STORIES)
def test_a_story(title: str) -> None:
    """Each of its steps is defined where it says, and it comes back to no room that it has left."""
    for file, name in STORIES[title]:
        assert name in names_defined_in(file), f"{file} has no {name}"
    rooms = [room for room, _ in groupby(file.partition("/")[0] for file, _ in STORIES[title])]
    assert len(rooms) == len(set(rooms)), rooms


def names_defined_in(file: str) -> set[str]:
    """The functions and classes of a module, and the methods of its classes."""
    tree = ast.parse((ROOT / "sanic_chat" / file).read_text())
    kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    names = {node.name for node in tree.body if isinstance(node, kinds)}
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{each.name}" for each in node.body if isinstance(each, kinds)}
    return names
