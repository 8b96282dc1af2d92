"""What runs in the cluster without tfbundle: it starts tasks and hands on what they yield.

Ray's client cannot receive what a task yields, and an object that a worker owns is lost with it. So an actor on the head node,
where the client's own process in the cluster is, receives it in the client's place. Nothing here needs tfbundle, as a node
without it is to be named. This module travels by value; it imports nothing at its top but the standard library.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

BATCH_BYTES = 32 << 20
"""About how much the courier hands over at a time."""

AHEAD = 4
"""How many messages a task may be ahead of the courier, which bounds what waits in the nodes' memory."""

BUILDS_PER_PROCESS = 25
"""How many models a process of a node builds before it is replaced: TensorFlow gives not all of its memory back."""

Message = tuple[str, Any]
"""What a task yields or what became of it: its kind, and what belongs to it.

    stage    the fields of a StageEvent
    chunk    bytes of the entry's archive
    built    key, request, inputs, node
    failed   an error of the unit, as bundler.many.failures writes it
    unfit    why the node cannot build
    lost     `process`, `memory` or `node`, and Ray's words
    broken   an error that nobody expects
    end      nothing more follows
"""


def build(unit: Mapping[str, Any], parcel: str, chunks: Sequence[Any], expected: Mapping[str, Any]) -> Iterator[Message]:
    """Build a unit on a node. `chunks` are references to the parts of its sources' archive."""
    import ray

    try:
        from bundler.many.cluster import node
    except ImportError as exc:
        yield "unfit", without_tfbundle(exc)
        return
    yield from node.build(unit, parcel, (ray.get(chunk) for chunk in chunks), expected)


def examine(units: Sequence[Mapping[str, Any]], expected: Mapping[str, Any]) -> dict[str, Any]:
    """Return whether a node can build (`unfit`: why not), and the request of each unit on its CPU (`requests`)."""
    try:
        from bundler.many.cluster import node
    except ImportError as exc:
        return {"unfit": without_tfbundle(exc), "requests": []}
    return node.examine(units, expected)


def without_tfbundle(exc: ImportError) -> str:
    """Return why a node cannot import what it needs."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"its tfbundle {version('tfbundle')} cannot be used: {exc}"
    except PackageNotFoundError:
        return "tfbundle is not installed there"


class Courier:
    """Starts tasks, and receives what they yield."""

    def __init__(self) -> None:
        import ray

        self._build = ray.remote(max_calls=BUILDS_PER_PROCESS)(build)
        self._tasks: dict[Any, int] = {}

    def start(self, key: int, arguments: Sequence[Any], options: Mapping[str, Any]) -> None:
        """Start the task of a unit. A task that dies is not started again here: whoever asked for it decides that."""
        fixed = {"max_retries": 0, "num_returns": "streaming", "_generator_backpressure_num_objects": AHEAD}
        self._tasks[self._build.options(**fixed, **options).remote(*arguments)] = key

    def receive(self, timeout_s: float) -> tuple[list[tuple[int, Message]], int]:
        """Return messages, each with the key of its task, and how many nodes can run tasks.

        It waits for the first one, at most `timeout_s` seconds.
        """
        import ray

        messages: list[tuple[int, Message]] = []
        size = 0
        while self._tasks and size < BATCH_BYTES:
            ready, _ = ray.wait(list(self._tasks), num_returns=len(self._tasks), timeout=0 if messages else timeout_s)
            if not ready:
                break
            for task in ready:
                key, message = self._tasks[task], self._next(task)
                messages.append((key, message))
                size += len(message[1]) if message[0] == "chunk" else 0
        nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")] if not messages else [None]
        return messages, len(nodes)

    def _next(self, task: Any) -> Message:
        import ray
        from ray import exceptions

        kinds = (("memory", exceptions.OutOfMemoryError), ("process", exceptions.WorkerCrashedError),
                 ("node", exceptions.NodeDiedError), ("node", exceptions.LocalRayletDiedError),
                 ("node", exceptions.ObjectLostError))  # fmt: skip
        try:
            return ray.get(next(task))  # type: ignore[no-any-return]
        except StopIteration:
            message: Message = ("end", None)
        except exceptions.RayError as exc:
            kind = next((kind for kind, each in kinds if isinstance(exc, each)), None)
            message = ("lost", (kind, str(exc))) if kind else ("broken", str(exc))
        del self._tasks[task]
        return message

    def stop(self) -> None:
        """End every task at once."""
        import ray

        for task in self._tasks:
            ray.cancel(task, force=True)
        self._tasks.clear()
