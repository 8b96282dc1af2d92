"""What a push or pull tells while it runs, and in the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

Outcome = Literal["pushed", "mounted", "skipped", "pulled"]


@dataclass(frozen=True)
class Transfer:
    """The state of the transfer of one part.

    Attributes:
        name: the part.
        size: its size in bytes.
        done: how many bytes have been transferred.
        verb: what is done with it now, such as `read` or `push`.
        outcome: what was done with it; None until that is known.
    """

    name: str
    size: int
    done: int = 0
    verb: str = ""
    outcome: Outcome | None = None


Progress = Callable[[Transfer], None]


def ignore(transfer: Transfer) -> None:
    """Show nothing."""


@dataclass
class Totals:
    """How many bytes were transferred, by outcome."""

    bytes: dict[Outcome, int] = field(default_factory=dict)
    parts: dict[Outcome, int] = field(default_factory=dict)

    def add(self, outcome: Outcome, size: int) -> None:
        """Count a part."""
        self.bytes[outcome] = self.bytes.get(outcome, 0) + size
        self.parts[outcome] = self.parts.get(outcome, 0) + 1
