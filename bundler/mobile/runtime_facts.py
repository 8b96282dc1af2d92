"""What is known of the runtimes that run an exported file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bundler.tflite.inspection import read_contents


@dataclass(frozen=True)
class RuntimeFacts:
    """The runtimes of a file.

    Attributes:
        minimum: the oldest runtime that has the file's operators, and who says so; None if nobody does.
        known_bad: runtimes that give wrong answers for the file or end in an error, each with the reason.
    """

    minimum: str | None
    known_bad: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the entries of export.json."""
        minimum = {"minimum_runtime": self.minimum} if self.minimum else {}
        return {**minimum, **({"known_bad_runtimes": list(self.known_bad)} if self.known_bad else {})}


def runtime_facts(path: Path) -> RuntimeFacts:
    """Return the facts on a .tflite file, as far as the file itself states them."""
    stated = read_contents(path).runtime
    return RuntimeFacts(f"TensorFlow Lite {stated}, according to its converter" if stated else None)
