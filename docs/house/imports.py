"""Reads who imports whom, at the level of files and of rooms."""

from __future__ import annotations

from collections import Counter
from functools import cache
from pathlib import Path

import grimp
import networkx as nx

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("bundler", "serving")


@cache
def file_graph() -> nx.DiGraph:
    """Return the modules of both packages with an edge for every import, lazy and `TYPE_CHECKING` ones included.

    A package's `__init__` that only hands names on is a module like any other. An import of a submodule is one of the submodule
    alone, although Python runs the `__init__` of its package too.
    """
    imports = grimp.build_graph(*PACKAGES, cache_dir=None)
    graph = nx.DiGraph()
    for module in sorted(imports.modules):
        graph.add_node(module)
        graph.add_edges_from((module, imported) for imported in sorted(imports.find_modules_directly_imported_by(module)))
    return graph


def room_of(module: str, *, of_serving: bool = False) -> str:
    """Return the room that a module belongs to, as a path.

    Args:
        module: dotted name of a module of one of the two packages.
        of_serving: tell the folders of `serving/` apart; otherwise all of it is one room.
    """
    package, *rest = module.split(".")
    if package == "serving" and not of_serving:
        return "serving/"
    if not rest:
        return f"{package}/__init__.py"
    folder = ROOT / package / rest[0]
    return f"{package}/{rest[0]}/" if folder.is_dir() else f"{package}/{rest[0]}.py"


def room_graph(*, of_serving: bool = False) -> nx.DiGraph:
    """Return the rooms with an edge for every pair of which one imports the other; `imports` counts the imports behind it."""
    graph = nx.DiGraph()
    arrows: Counter[tuple[str, str]] = Counter()
    for importer, imported in file_graph().edges:
        start, end = room_of(importer, of_serving=of_serving), room_of(imported, of_serving=of_serving)
        if start != end:
            arrows[start, end] += 1
    rooms = {room_of(module, of_serving=of_serving) for module in file_graph()}
    if of_serving:
        rooms = {room for room in rooms if room.startswith("serving/")}
    graph.add_nodes_from(sorted(rooms))
    graph.add_edges_from(
        (start, end, {"imports": count})
        for (start, end), count in sorted(arrows.items())
        if start in rooms and end in rooms
    )
    return graph


def circles(graph: nx.DiGraph) -> list[list[str]]:
    """Return the groups of nodes that reach each other, the largest first; a graph without a circle has none."""
    groups = [sorted(group) for group in nx.strongly_connected_components(graph) if len(group) > 1]
    return sorted(groups, key=lambda group: (-len(group), group))


def explain_circle(graph: nx.DiGraph, circle: list[str]) -> str:
    """Return the arrows inside a circle, one per line."""
    inside = graph.subgraph(circle).edges
    return "\n".join(f"  {importer} -> {imported}" for importer, imported in sorted(inside))
