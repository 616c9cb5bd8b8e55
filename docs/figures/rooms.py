"""Draws `rooms.svg`, the rooms of sanic_chat/ and what each imports, from the code as it is.

    python docs/figures/rooms.py

A room stands one floor below the lowest one that imports it. Its caption is the first line of its
docstring; below it stands what it imports that is not of the standard library.
"""

from __future__ import annotations

import ast
import sys
import textwrap
from collections.abc import Iterator
from graphlib import TopologicalSorter
from html import escape
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "sanic_chat"
PICTURE = Path(__file__).with_name("rooms.svg")

PLACES = {
    "app": 1.4, "serving": 2.35, "cli": 3.4,
    "web": 0.9, "worker": 2.3, "doctor": 4.3, "publishing": 3.45,
    "upgrade": 0, "tokens": 1, "version": 2, "config": 3, "process": 4,
    "pod": 0.5, "auth": 1.5,
    "presence": 0.2, "cluster": 1.2, "stats": 2.2,
    "session": 0.2, "broker": 1.9,
    "hub": 0, "websocket": 1, "protocol": 2, "logs": 3, "redis_url": 4,
    "errors": 2.3,
}  # fmt: skip
"""Where on its floor each room stands, in columns from the left."""

MARGIN, COLUMN, BOX, GAP = 20, 200, 184, 40
LINE, PADDING, LANE = 15, 10, 9
CAPTION_CHARACTERS, NOTE_CHARACTERS = 26, 30

STYLE = """
  text { font: 12px system-ui, sans-serif; fill: #5a6675; }
  .name { font-size: 14px; font-weight: 600; fill: #1c2430; }
  .outside { font-size: 11px; fill: #9a4f00; }
  .paper { fill: #ffffff; }
  .box { fill: #f3f6fa; stroke: #8b98a9; }
  .arrow { fill: none; stroke: #6b7f99; stroke-width: 1.4; marker-end: url(#head); }
  .head { fill: #6b7f99; }
  @media (prefers-color-scheme: dark) {
    text { fill: #a4b0be; }
    .name { fill: #e8edf3; }
    .outside { fill: #f0a35e; }
    .paper { fill: #10151c; }
    .box { fill: #1c2530; stroke: #5d6b7d; }
    .arrow { stroke: #8298b3; }
    .head { fill: #8298b3; }
  }
"""


class Room:
    """A folder of the package, or a module beside them: its box, its imports, its floor."""

    def __init__(self, path: Path) -> None:
        files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
        trees = {file: ast.parse(file.read_text(encoding="utf-8")) for file in files}
        story = path / "__init__.py" if path.is_dir() else path
        [first, *_] = (ast.get_docstring(trees[story]) or "").split("\n")
        self.name = path.stem
        self.title = f"{path.name}/" if path.is_dir() else path.name
        self.caption = textwrap.wrap(first, CAPTION_CHARACTERS)
        self.imports: set[str] = set()
        self.outside: set[str] = set()
        for file, tree in trees.items():
            package = ("sanic_chat", *file.relative_to(PACKAGE).parts[:-1])
            for module in imported_by(tree, package):
                if module[0] != "sanic_chat":
                    self.outside.add(module[0])
                elif module[1] != self.name:
                    self.imports.add(module[1])
        self.outside -= sys.stdlib_module_names
        self.notes = textwrap.wrap(", ".join(sorted(self.outside)), NOTE_CHARACTERS)
        self.height = LINE * (len(self.caption) + len(self.notes)) + 16 + 2 * PADDING
        self.floor = 0
        self.top = 0
        self.left = MARGIN + round(COLUMN * PLACES[self.name])


def imported_by(tree: ast.Module, package: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """The modules that a file in that package imports, in parts."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield tuple(alias.name.split("."))
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = base + tuple(node.module.split(".") if node.module else ())
            if module == ("sanic_chat",):
                yield from (("sanic_chat", alias.name) for alias in node.names)
            else:
                yield module


def read_rooms() -> dict[str, Room]:
    """The rooms by name, each on its floor; what the package's own face imports is no arrow."""
    paths = [path.parent for path in PACKAGE.glob("*/__init__.py")]
    paths += [path for path in PACKAGE.glob("*.py") if not path.stem.startswith("__")]
    unknown = {path.stem for path in paths} ^ PLACES.keys()
    if unknown:
        raise SystemExit(f"PLACES in {__file__} is not up to date with: {', '.join(unknown)}")
    rooms = {path.stem: Room(path) for path in sorted(paths)}
    order = [
        *TopologicalSorter({name: room.imports for name, room in rooms.items()}).static_order()
    ]
    for name in reversed(order):  # who imports comes before what is imported
        for imported in rooms[name].imports:
            rooms[imported].floor = max(rooms[imported].floor, rooms[name].floor + 1)
    for name in order:
        room = rooms[name]
        others = [other for other in rooms.values() if other.floor == room.floor and other != room]
        if any(abs(other.left - room.left) < BOX for other in others):
            raise SystemExit(f"PLACES in {__file__}: {name} stands where another room stands")
    return rooms


def needed_arrows(rooms: dict[str, Room]) -> list[tuple[Room, Room]]:
    """The imports that do not follow from others: from who imports to what is imported."""

    def reached_from(name: str) -> set[str]:
        direct = rooms[name].imports
        return direct.union(*(reached_from(each) for each in direct))

    return [
        (room, rooms[imported])
        for room in rooms.values()
        for imported in sorted(room.imports)
        if not any(imported in reached_from(other) for other in room.imports)
    ]


def draw() -> str:
    """The picture as SVG."""
    rooms = read_rooms()
    floors: list[list[Room]] = [[] for _ in range(max(r.floor for r in rooms.values()) + 1)]
    for room in rooms.values():
        floors[room.floor].append(room)
    y = MARGIN + 30
    for floor in floors:
        height = max(room.height for room in floor)
        for room in floor:
            room.top, room.height = y, height
        y += height + GAP
    width = max(room.left for room in rooms.values()) + BOX + MARGIN
    arrows = needed_arrows(rooms)
    total = sum(len(room.imports) for room in rooms.values())
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {y - GAP + MARGIN}" '
        'role="img" aria-label="The rooms of sanic_chat, and which imports which">',
        "<!-- Drawn by docs/figures/rooms.py. -->",
        f"<style>{STYLE}</style>",
        '<marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto"><path class="head" d="M0 0 8 4 0 8z"/></marker>',
        '<rect class="paper" width="100%" height="100%"/>',
        f'<text x="{MARGIN}" y="{MARGIN + 10}">An arrow is an import. Of {total}, the '
        f"{len(arrows)} are drawn that do not follow from others. "
        "Coloured: packages that a room imports.</text>",
    ]
    ports = spread_ports(arrows)
    lines += [draw_arrow(*arrow, *ports[arrow], floors) for arrow in arrows]
    lines += [line for room in rooms.values() for line in draw_box(room)]
    return "\n".join([*lines, "</svg>", ""])


def spread_ports(arrows: list[tuple[Room, Room]]) -> dict[tuple[Room, Room], tuple[int, int]]:
    """Where each arrow leaves its one box and reaches the other, so that few cross."""
    ends: list[dict[tuple[Room, Room], int]] = []
    for here, there in ((0, 1), (1, 0)):
        found: dict[tuple[Room, Room], int] = {}
        for room in {arrow[here] for arrow in arrows}:
            own = [arrow for arrow in arrows if arrow[here] is room]
            own.sort(key=lambda arrow: (arrow[there].left, -arrow[there].floor))
            for index, arrow in enumerate(own, 1):
                found[arrow] = room.left + BOX * index // (len(own) + 1)
        ends.append(found)
    return {arrow: (ends[0][arrow], ends[1][arrow]) for arrow in arrows}


def draw_arrow(source: Room, target: Room, x: int, end: int, floors: list[list[Room]]) -> str:
    """A curve that goes straight down between the boxes of the floors on its way."""
    y = source.top + source.height
    path = f"M{x} {y}"
    start, steps = x, target.floor - source.floor
    for step, floor in enumerate(floors[source.floor + 1 : target.floor], 1):
        top, bottom = floor[0].top, floor[0].top + floor[0].height
        lane = free_lane(start + (end - start) * step // steps, floor)
        path += f" C{x} {y + GAP // 2} {lane} {top - GAP // 2} {lane} {top} V{bottom}"
        x, y = lane, bottom
    middle = (y + target.top) // 2
    return f'<path class="arrow" d="{path} C{x} {middle} {end} {middle} {end} {target.top}"/>'


def free_lane(wanted: int, floor: list[Room]) -> int:
    """The place nearest to `wanted` that is in no box of a floor."""
    blocked = [(room.left - LANE, room.left + BOX + LANE) for room in floor]
    lanes = [wanted, *(edge for box in blocked for edge in box)]
    free = [x for x in lanes if not any(low < x < high for low, high in blocked)]
    return min(free, key=lambda x: abs(x - wanted))


def draw_box(room: Room) -> Iterator[str]:
    """A box with its room's name, what it knows of the outside, and its caption."""
    left, y = room.left + PADDING, room.top + PADDING + 11
    yield (
        f'<rect class="box" x="{room.left}" y="{room.top}" width="{BOX}" height="{room.height}" '
        'rx="5"/>'
    )
    yield f'<text class="name" x="{left}" y="{y}">{escape(room.title)}</text>'
    for number, text in enumerate(room.caption, 1):
        yield f'<text x="{left}" y="{y + 3 + LINE * number}">{escape(text)}</text>'
    bottom = room.top + room.height - PADDING - 1
    for number, text in enumerate(reversed(room.notes)):
        yield f'<text class="outside" x="{left}" y="{bottom - LINE * number}">{text}</text>'


if __name__ == "__main__":
    PICTURE.write_text(draw(), encoding="utf-8")
