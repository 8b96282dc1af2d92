"""The structure of the code follows its plan (docs/architecture.md; `make house` prints the figures)."""

from __future__ import annotations

from pathlib import Path

import networkx as nx
import pytest

from docs.house import drawing
from docs.house.functions import functions, too_long, too_wide
from docs.house.imports import PACKAGES, ROOT, circles, explain_circle, file_graph, room_graph
from docs.house.test_files import mirrored_test, modules, without_own_test
from docs.house.twins import twins
from tests.covered_elsewhere import COVERED

MOST_ROOMS, MOST_ARROWS, MOST_TWINS = 29, 170, 15
LOOSE = {"__init__.py", "__main__.py", "errors.py", "ops.py", "pipeline.py", "py.typed"}


@pytest.mark.parametrize("graph", [file_graph(), room_graph(), room_graph(of_serving=True)], ids=["files", "rooms", "serving"])
def test_imports_form_no_circle(graph: nx.DiGraph) -> None:
    groups = circles(graph)
    assert not groups, "\n".join(explain_circle(graph, circle) for circle in groups)


def test_numbers_of_rooms_and_arrows_are_limited(record_property: pytest.RecordProperty) -> None:
    graph = room_graph()
    record_property("house", f"House: {len(graph)} rooms, {graph.size()} arrows, {len(circles(graph))} circles")
    assert len(graph) <= MOST_ROOMS and graph.size() <= MOST_ARROWS


def test_bundler_has_only_the_planned_modules_outside_of_rooms() -> None:
    assert {path.name for path in (ROOT / "bundler").iterdir() if path.is_file()} == LOOSE


def test_functions_are_short_and_have_few_parameters() -> None:
    measured = functions(*PACKAGES)
    assert not too_long(measured) and not too_wide(measured)


def test_repeated_code_is_rare() -> None:
    assert len(twins()) <= MOST_TWINS, "\n".join(map(str, twins()))


def test_drawing_is_up_to_date() -> None:
    message = "docs/house.svg is out of date; run: python -m docs.house --draw"
    assert drawing.FILE.read_text("utf-8") == drawing.draw(), message


def test_every_room_is_drawn_once() -> None:
    drawn = [room for layer in drawing.layers() for room in layer]
    assert sorted(drawn) == sorted(room_graph())


def test_architecture_has_a_paragraph_for_every_room() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    missing = [room for room in room_graph() if f"**`{room}`**" not in text]
    assert not missing


def test_every_module_has_a_test_file_or_a_row_in_the_list() -> None:
    assert sorted(without_own_test()) == sorted(COVERED)


@pytest.mark.parametrize("module", sorted(COVERED))
def test_rows_of_the_list_name_existing_modules_and_test_files(module: str) -> None:
    assert (ROOT / COVERED[module]).is_file() and Path(COVERED[module]).name.startswith("test_")
    assert module in modules() and not mirrored_test(module).exists()
