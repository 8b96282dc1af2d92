"""Prints branch coverage per room: `python -m docs.house.coverage FILE`, where FILE is written by `coverage json`."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from docs.house.imports import PACKAGES, room_of

LIMIT = 90.0
"""Percentage of the lines and branches of each package that the tests must run."""


@dataclass
class Share:
    """The number of lines and branches that were run, and the number of all."""

    run: int = 0
    of: int = 0

    def add(self, summary: dict[str, int]) -> None:
        """Add the counts of a file, which has the keys of `summary` in coverage's JSON report."""
        self.run += summary["covered_lines"] + summary["covered_branches"]
        self.of += summary["num_statements"] + summary["num_branches"]

    @property
    def percent(self) -> float:
        """The share in percent; 100 if there is nothing to run."""
        return 100 * self.run / self.of if self.of else 100.0


def shares(report: Path) -> tuple[dict[str, Share], dict[str, Share]]:
    """Return the shares by package and by room, read from a report in coverage's JSON format."""
    packages: dict[str, Share] = defaultdict(Share)
    rooms: dict[str, Share] = defaultdict(Share)
    for name, file in json.loads(report.read_text("utf-8"))["files"].items():
        path = Path(name)
        if path.parts[0] in PACKAGES:
            packages[path.parts[0]].add(file["summary"])
            rooms[room_of(".".join(path.with_suffix("").parts), of_serving=True)].add(file["summary"])
    return packages, rooms


def main(report: Path) -> int:
    """Print one line per room and per package. Return the exit status: 1 if a package is below the limit, else 0."""
    packages, rooms = shares(report)
    for room, share in sorted(rooms.items()):
        print(f"{room:24}{share.percent:7.1f} %  of {share.of:6,} lines and branches")
    low = False
    for package, share in packages.items():
        low |= share.percent < LIMIT
        print(f"{package + ' as a whole':24}{share.percent:7.1f} %  (limit {LIMIT:g} %)")
    return int(low)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
