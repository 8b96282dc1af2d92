"""An attack, and helpers that several of them share."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tests.faults.victim import Victim

SECONDS = 5.0
"""How long attacks go on that repeat themselves."""


@dataclass(frozen=True)
class Attack:
    """An attack on a server.

    Attributes:
        name: what the client does.
        run: does it and returns what the server answered; raises AssertionError if the answer does harm.
        limit: the flag that limits the damage.
        flags: flags of the server that the attack needs besides those of all attacks.
        files: most file descriptors of the server; None for the machine's own limit.
        after: looks at the server once the light client has ended; may end the server.
        log_bytes_per_second: how much the server may log meanwhile, on average; None for the limit of a single attack.
    """

    name: str
    run: Callable[[Victim], str]
    limit: str
    flags: tuple[str, ...] = ()
    files: int | None = None
    after: Callable[[Victim], str] | None = None
    log_bytes_per_second: float | None = None

    @property
    def needs_own_server(self) -> bool:
        return bool(self.flags or self.files or self.after)


def counted(answers: Iterable[object]) -> str:
    """Return the answers with their numbers, most frequent first: `400 ×3, reset`."""
    counts = Counter(map(str, answers)).most_common(4)
    return ", ".join(text if n == 1 else f"{text} ×{n}" for text, n in counts) or "none"


def at_once(call: Callable[[], object], times: int) -> list[object]:
    """Call a function in so many threads at once and return what they return."""
    with ThreadPoolExecutor(times) as pool:
        return [future.result() for future in [pool.submit(call) for _ in range(times)]]


def repeated(call: Callable[[], object], *, seconds: float = SECONDS, threads: int = 1) -> list[object]:
    """Call a function again and again for some seconds and return what it returned."""
    answers: list[object] = []
    lock, end = threading.Lock(), time.monotonic() + seconds

    def work() -> None:
        while time.monotonic() < end:
            answer = call()
            with lock:
                answers.append(answer)

    at_once(work, threads)
    return answers
