"""Prints the figures of the house: `python -m docs.house`; with `--draw` it writes docs/house.svg anew."""

from __future__ import annotations

import argparse
import statistics

from docs.house import drawing
from docs.house.functions import MAX_LINES, MAX_PARAMETERS, functions, sources, too_long, too_wide
from docs.house.imports import PACKAGES, ROOT, circles, explain_circle, file_graph, room_graph
from docs.house.test_files import modules, without_own_test
from docs.house.twins import twins


def main() -> None:
    """Print the figures, or draw."""
    parser = argparse.ArgumentParser(prog="python -m docs.house", description=__doc__)
    parser.add_argument("--draw", action="store_true", help="write docs/house.svg")
    if parser.parse_args().draw:
        drawing.write()
        print(f"{drawing.FILE.relative_to(ROOT)} is written.")
        return
    print("\n".join([*_files(), "", *_functions(), "", *_structure(), "", *_repetition(), "", *_tests()]))


def _files() -> list[str]:
    lines = [f"{'':14}{'files':>7}{'lines':>9}"]
    for folder in (*PACKAGES, "tests", "benchmarks", "docs"):
        files = sources(folder)
        total = sum(len(path.read_text("utf-8").splitlines()) for path in files)
        lines.append(f"{folder + '/':14}{len(files):7,}{total:9,}")
    return lines


def _functions() -> list[str]:
    found = functions(*PACKAGES)
    longest = max(found, key=lambda function: function.lines)
    widest = max(found, key=lambda function: function.parameters)
    lines = [
        f"functions of {' and '.join(PACKAGES)}: {len(found):,}, median {statistics.median(f.lines for f in found):.0f} lines",
        f"longest: {longest.lines} lines, {longest.place}",
        f"most parameters: {widest.parameters}, {widest.place}",
        f"over {MAX_LINES} lines: {len(too_long(found))}",
        f"over {MAX_PARAMETERS} parameters, outside operator handlers and commands: {len(too_wide(found))}",
    ]
    over = dict.fromkeys([*too_long(found), *too_wide(found)])
    return [*lines, *(f"  {f.lines} lines, {f.parameters} parameters: {f.place}" for f in over)]


def _structure() -> list[str]:
    lines = []
    for title, graph in (("house", room_graph()), ("serving", room_graph(of_serving=True))):
        found = circles(graph)
        lines.append(f"{title}: {len(graph)} rooms, {graph.size()} arrows, {len(found)} circles")
        lines += [explain_circle(graph, circle) for circle in found]
    found = circles(file_graph())
    lines.append(f"files: {len(file_graph())} modules, {file_graph().size()} imports, {len(found)} circles")
    return [*lines, *(explain_circle(file_graph(), circle) for circle in found)]


def _repetition() -> list[str]:
    found = twins()
    return [
        f"pairs of places that share six or more lines but for names and values: {len(found)}",
        *(f"  {twin.lines:3} lines: {twin.first} ~ {twin.second}" for twin in found),
    ]


def _tests() -> list[str]:
    elsewhere = without_own_test()
    return [f"modules with a test file of their own name: {len(modules()) - len(elsewhere)} of {len(modules())}"]


if __name__ == "__main__":
    main()
