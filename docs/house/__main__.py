"""Prints figures on the structure of the code: `python -m docs.house`. With `--draw` it writes docs/house.svg instead."""

from __future__ import annotations

import argparse
import statistics

from docs.house import drawing
from docs.house.functions import MAX_LINES, MAX_PARAMETERS, functions, sources, too_long, too_wide
from docs.house.imports import PACKAGES, ROOT, circles, explain_circle, file_graph, room_graph
from docs.house.test_files import modules, without_own_test
from docs.house.twins import RUN, twins


def main() -> None:
    """Print the figures, or write the drawing."""
    parser = argparse.ArgumentParser(prog="python -m docs.house", description=__doc__)
    parser.add_argument("--draw", action="store_true", help="write docs/house.svg and print no figures")
    if parser.parse_args().draw:
        drawing.write()
        print(f"Wrote {drawing.FILE.relative_to(ROOT)}.")
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
    measured = functions(*PACKAGES)
    longest = max(measured, key=lambda function: function.lines)
    widest = max(measured, key=lambda function: function.parameters)
    median = statistics.median(f.lines for f in measured)
    lines = [
        f"functions in {' and '.join(PACKAGES)}: {len(measured):,}, with a median of {median:.0f} lines",
        f"longest: {longest.lines} lines, {longest.place}",
        f"most parameters: {widest.parameters}, {widest.place}",
        f"functions with more than {MAX_LINES} lines: {len(too_long(measured))}",
        f"functions with more than {MAX_PARAMETERS} parameters, except operator handlers and commands: {len(too_wide(measured))}",
    ]
    over = dict.fromkeys([*too_long(measured), *too_wide(measured)])
    return [*lines, *(f"  {f.lines} lines, {f.parameters} parameters: {f.place}" for f in over)]


def _structure() -> list[str]:
    lines = []
    for title, graph in (("all rooms", room_graph()), ("rooms of serving", room_graph(of_serving=True))):
        groups = circles(graph)
        lines.append(f"{title}: {len(graph)} rooms, {graph.size()} arrows, {len(groups)} circles")
        lines += [explain_circle(graph, circle) for circle in groups]
    groups = circles(file_graph())
    lines.append(f"files: {len(file_graph())} modules, {file_graph().size()} imports, {len(groups)} circles")
    return [*lines, *(explain_circle(file_graph(), circle) for circle in groups)]


def _repetition() -> list[str]:
    pairs = twins()
    return [
        f"pairs of places that share {RUN} or more lines, apart from names and values: {len(pairs)}",
        *(f"  {twin.lines:3} lines: {twin.first} ~ {twin.second}" for twin in pairs),
    ]


def _tests() -> list[str]:
    elsewhere = without_own_test()
    return [f"modules with a test file of their own name: {len(modules()) - len(elsewhere)} of {len(modules())}"]


if __name__ == "__main__":
    main()
