"""Reads which modules import which, and which rooms import which."""

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
    """Return the modules of both packages with an edge for every import, including those inside functions or `TYPE_CHECKING`.

    A package's `__init__` that only re-exports names is a module like any other. An import of a submodule counts as an import of
    the submodule only, although Python also runs the `__init__` of its package.
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
        module: the dotted name of a module in one of the two packages.
        of_serving: whether each folder of `serving/` is a room; otherwise all of `serving/` is one room.

    Returns:
        Such as `bundler/graph/`, `bundler/errors.py` or `serving/`.
    """
    package, *rest = module.split(".")
    if package == "serving" and not of_serving:
        return "serving/"
    if not rest:
        return f"{package}/__init__.py"
    folder = ROOT / package / rest[0]
    return f"{package}/{rest[0]}/" if folder.is_dir() else f"{package}/{rest[0]}.py"


def room_graph(*, of_serving: bool = False) -> nx.DiGraph:
    """Return the rooms with an edge from each room to every room that it imports.

    The attribute `imports` of an edge is the number of imports between modules of the two rooms.

    Args:
        of_serving: whether to return the rooms inside `serving/` instead of those of the whole code.
    """
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
    """Return the groups of nodes that can reach each other, largest first; empty if the graph has no circle."""
    groups = [sorted(group) for group in nx.strongly_connected_components(graph) if len(group) > 1]
    return sorted(groups, key=lambda group: (-len(group), group))


def explain_circle(graph: nx.DiGraph, circle: list[str]) -> str:
    """Return text with the arrows inside a circle, one per line."""
    inside = graph.subgraph(circle).edges
    return "\n".join(f"  {importer} -> {imported}" for importer, imported in sorted(inside))
