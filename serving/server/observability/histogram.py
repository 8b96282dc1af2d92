"""Histograms in Prometheus' text format, as TensorFlow Serving's monitoring writes them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field


def exponential(scale: float, factor: float, count: int) -> tuple[float, ...]:
    """Return the upper bounds of `count` buckets, as tensorflow::monitoring::Buckets::Exponential computes them."""
    return tuple(scale * factor**power for power in range(count))


@dataclass
class Histogram:
    """Observations counted in buckets, separately for each combination of label values (a cell). Not thread-safe.

    Args:
        name: with colons, as in Prometheus.
        bounds: upper bounds of the buckets; one more bucket takes larger values.
        labels: names of the labels; without labels there is one cell.
    """

    name: str
    bounds: Sequence[float]
    labels: tuple[str, ...] = ()
    _cells: dict[tuple[str, ...], tuple[list[int], list[float]]] = field(default_factory=dict)

    def add(self, value: float, *cell: str) -> None:
        """Count a value in the cell with these label values."""
        counts, total = self._cells.setdefault(cell, ([0] * (len(self.bounds) + 1), [0.0]))
        counts[bisect_left(self.bounds, value)] += 1
        total[0] += value

    def lines(self) -> list[str]:
        """Return the histogram in Prometheus' text format."""
        lines = [f"# TYPE {self.name} histogram"]
        for cell, (counts, (total,)) in sorted(self._cells.items()):
            cell_labels = tuple(zip(self.labels, cell, strict=True))
            running = 0
            for bound, count in zip([*(f"{b:g}" for b in self.bounds), "+Inf"], counts, strict=True):
                running += count
                lines.append(f"{self.name}_bucket{labels(*cell_labels, ('le', bound))} {running}")
            lines.append(f"{self.name}_sum{labels(*cell_labels)} {total:g}")
            lines.append(f"{self.name}_count{labels(*cell_labels)} {running}")
        return lines


def labels(*pairs: Sequence[str]) -> str:
    """Return `{name="value",…}` for pairs of name and value."""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in pairs) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
