"""Builds the models of a bundle.yaml in this process: `python -m tests.bundler.many.in_process FILE OUT CACHE`.

It prints a line for each model that ends. The real stages run, without processes of their own, so that a test can kill the build
without paying for imports.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from bundler.many.build import build_many
from bundler.many.cache import Cache
from bundler.many.engine import Hooks, Outcome
from bundler.many.units import Unit, build_unit
from bundler.operations.many import models_of
from bundler.spec.request import make_request


class InProcess:
    """An engine that builds in this process."""

    def run(self, units: Sequence[Unit], cache: Cache, hooks: Hooks) -> Iterator[Outcome]:
        """Yield the outcome of every unit; an error ends the build."""
        for unit in units:
            yield Outcome(unit, build_unit(unit, cache, hooks.progress))


def main() -> None:
    """Build, and print the names of models as they end."""
    file, out, cache = sys.argv[1:]
    hooks = Hooks(lambda event: None, print, lambda outcome: print(outcome.unit.name, outcome.is_cached, flush=True))
    build_many(models_of([make_request(file, Path(out), {})]), Path(out), InProcess(), Cache(Path(cache)), hooks)
    print("published", flush=True)


if __name__ == "__main__":
    main()
