"""Engines: what runs the units of a build, on this machine or on others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from bundler.errors import TfbundleError
from bundler.many.cache import Cache, CacheEntry
from bundler.many.units import Unit

if TYPE_CHECKING:
    from bundler.pipeline import Progress

ATTEMPTS = 2
"""How often a unit is tried if what runs it dies."""


@dataclass(frozen=True)
class Outcome:
    """The end of a unit: either an entry or an error.

    Attributes:
        unit: the unit.
        entry: its result, in the cache of the process that asked for it.
        error: why there is none.
        seconds: how long the unit took.
        is_cached: whether the entry was there before.
    """

    unit: Unit
    entry: CacheEntry | None = None
    error: TfbundleError | None = None
    seconds: float = 0.0
    is_cached: bool = False


@dataclass(frozen=True)
class Hooks:
    """What is told while a build runs, in the thread that iterates over the outcomes. An engine calls the first two.

    Attributes:
        progress: called when a stage of a unit starts or ends.
        notice: called with a sentence about what the user should know at once, such as a unit that is tried again.
        ended: called with the outcome of each unit.
    """

    progress: Progress
    notice: Callable[[str], None]
    ended: Callable[[Outcome], None] = lambda outcome: None


class Engine(Protocol):
    """Runs units."""

    def run(self, units: Sequence[Unit], cache: Cache, hooks: Hooks) -> Iterator[Outcome]:
        """Yield the outcome of every unit as it ends, in any order.

        A unit that fails, or whose process or machine dies ATTEMPTS times, is an outcome with an error and does not stop the
        others. Closing the iterator stops what is running.

        Args:
            units: the units, none of which has a valid entry in the cache.
            cache: where the results are to be when their outcomes are yielded.
            hooks: what is told while the units run.
        """
        ...


def died(unit: Unit, how: str) -> TfbundleError:
    """Return the error for a unit whose process died each time; `how` says how it ended, with a full stop."""
    return TfbundleError(
        f"The process that built {unit.name} died {ATTEMPTS} times: it {how}",
        fix="if the system ran out of memory, give fewer jobs (--jobs 1) or build on a machine with more; otherwise build this "
        "model alone to see where it stops",
        code="TFB5201",
    )


def tried_again(unit: Unit, how: str) -> str:
    """Return the notice about a unit that is tried once more."""
    return f"{unit.name}: its process {how.rstrip('.')}; it is tried once more."
