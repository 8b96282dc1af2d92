"""Histograms in Prometheus' text form, as TensorFlow Serving's monitoring writes them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field


def exponential(scale: float, factor: float, count: int) -> tuple[float, ...]:
    """Upper bounds of buckets, as tensorflow::monitoring::Buckets::Exponential makes them."""
    return tuple(scale * factor**power for power in range(count))


@dataclass
class Histogram:
    """Observations in buckets; not thread-safe.

    Args:
        name: with colons, as Prometheus has it.
        bounds: upper bounds of the buckets; a further one takes the rest.
        labels: names of what the cells differ in; none: there is one cell.
    """

    name: str
    bounds: Sequence[float]
    labels: tuple[str, ...] = ()
    _cells: dict[tuple[str, ...], tuple[list[int], list[float]]] = field(default_factory=dict)

    def add(self, value: float, *cell: str) -> None:
        """Count a value in the cell with these values of the labels."""
        counts, total = self._cells.setdefault(cell, ([0] * (len(self.bounds) + 1), [0.0]))
        counts[bisect_left(self.bounds, value)] += 1
        total[0] += value

    def lines(self) -> list[str]:
        lines = [f"# TYPE {self.name} histogram"]
        for cell, (counts, (total,)) in sorted(self._cells.items()):
            own = tuple(zip(self.labels, cell, strict=True))
            running = 0
            for bound, count in zip([*(f"{b:g}" for b in self.bounds), "+Inf"], counts, strict=True):
                running += count
                lines.append(f"{self.name}_bucket{labels(*own, ('le', bound))} {running}")
            lines.append(f"{self.name}_sum{labels(*own)} {total:g}")
            lines.append(f"{self.name}_count{labels(*own)} {running}")
        return lines


def labels(*pairs: Sequence[str]) -> str:
    """`{name="value",…}`."""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in pairs) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
