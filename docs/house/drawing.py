"""Draws the rooms and their arrows as an SVG, with one row per layer, in the order of the contracts in pyproject.toml."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

import networkx as nx

from docs.house.imports import ROOT, room_graph

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FILE = ROOT / "docs" / "house.svg"
WIDTH, ROW, MARGIN = 960, 74, 24
BOX_HEIGHT, GAP = 34, 60
_STYLE = """\
text { font: 14px system-ui, sans-serif; fill: #1d2b3a; text-anchor: middle; dominant-baseline: central }
rect { fill: #eef4fb; stroke: #5b7fa6; rx: 6px }
.run { fill: #f6efe3; stroke: #b08a4a }
path { fill: none; stroke: #7d8b99; stroke-width: 1.2; marker-end: url(#tip) }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } rect { fill: #1c2b3a } .run { fill: #3a3020 } path { stroke: #8b98a5 }
}"""


@dataclass(frozen=True)
class Box:
    """A room in the drawing: its name, the center of its box, and the width of its box, in pixels."""

    room: str
    x: float
    y: float
    width: float


def layers() -> list[list[str]]:
    """Return the rooms by layer, from top to bottom: those of `bundler/`, then `serving/`."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    ordered = next(contract["layers"] for contract in contracts if contract.get("containers") == ["bundler"])
    rows = [[_room(name.strip()) for name in layer.split("|")] for layer in ordered]
    return [["bundler/__main__.py", "bundler/__init__.py"], *rows, ["serving/"]]


def draw() -> str:
    """Return the drawing as SVG text.

    An arrow that follows from others (A to B and B to C imply A to C) is left out to keep the drawing readable.
    """
    boxes = _boxes(layers())
    graph = nx.transitive_reduction(room_graph())
    height = max(box.y for box in boxes.values()) + BOX_HEIGHT / 2 + MARGIN
    arrows = "\n".join(_arrow(boxes[start], boxes[end]) for start, end in sorted(graph.edges))
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" role="img">',
            "<title>Rooms of the house and the imports between them, top floor first</title>",
            f"<style>{_STYLE}</style>",
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
            '<path d="M0 0L8 4L0 8z" style="fill:#7d8b99;stroke:none;marker-end:none"/></marker></defs>',
            arrows,
            "\n".join(map(_rect, boxes.values())),
            "</svg>\n",
        ]
    )


def write(path: Path = FILE) -> None:
    """Write the drawing to `path`."""
    path.write_text(draw(), "utf-8")


def _room(name: str) -> str:
    return f"bundler/{name}/" if (ROOT / "bundler" / name).is_dir() else f"bundler/{name}.py"


def _boxes(rows: list[list[str]]) -> dict[str, Box]:
    boxes = {}
    for number, row in enumerate(rows):
        widths = [len(room) * 7.6 + 24 for room in row]
        left = (WIDTH - sum(widths) - GAP * (len(row) - 1)) / 2 + _shift(number, len(row))
        for room, width in zip(row, widths, strict=True):
            boxes[room] = Box(room, left + width / 2, MARGIN + BOX_HEIGHT / 2 + ROW * number, width)
            left += width + GAP
    return boxes


def _shift(number: int, rooms: int) -> float:
    """Return the shift of a row with a single room: left and right alternate, so that long arrows pass beside the room."""
    return 0 if rooms > 1 else (-150 if number % 2 else 150)


def _arrow(start: Box, end: Box) -> str:
    x, y = start.x + (end.x - start.x) * 0.12, start.y + BOX_HEIGHT / 2
    to_x, to_y = end.x - (end.x - start.x) * 0.12, end.y - BOX_HEIGHT / 2
    bend = max(28.0, (to_y - y) * 0.45)
    return f'<path d="M{x:.0f} {y:.0f}C{x:.0f} {y + bend:.0f} {to_x:.0f} {to_y - bend:.0f} {to_x:.0f} {to_y:.0f}"/>'


def _rect(box: Box) -> str:
    side = ' class="run"' if box.room.startswith("serving") else ""
    left, top = box.x - box.width / 2, box.y - BOX_HEIGHT / 2
    return (
        f'<rect{side} x="{left:.0f}" y="{top:.0f}" width="{box.width:.0f}" height="{BOX_HEIGHT}"/>'
        f'<text x="{box.x:.0f}" y="{box.y:.0f}">{escape(box.room)}</text>'
    )
