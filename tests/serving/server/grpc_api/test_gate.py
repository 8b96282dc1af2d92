"""The gate counts calls and bytes, and cancels the calls that wait longest for their client."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from serving.protocol.status import Code, StatusError
from serving.server.grpc_api.gate import Budget, Gate
from serving.server.models import memory
from serving.server.models.states import wait_until

MIB = 2**20


class Context:
    """What the gate uses of grpc.ServicerContext."""

    def __init__(self) -> None:
        self.callbacks: list[Callable[[], None]] = []
        self.cancelled = False
        self.ended = False

    def add_callback(self, callback: Callable[[], None]) -> bool:
        if not self.ended:
            self.callbacks.append(callback)
        return not self.ended

    def cancel(self) -> None:
        self.cancelled = True

    def end(self) -> None:
        self.ended = True
        for callback in self.callbacks:
            callback()


def gate(**limits: Any) -> Gate:
    return Gate(**{"calls": 8, "running": 2, "held_bytes": 10 * MIB, "write_seconds": 60.0, **limits})


@pytest.fixture
def watching() -> Iterator[Callable[..., Gate]]:
    """A function that makes a gate whose thread runs."""
    with ExitStack() as stack:

        def make(**limits: Any) -> Gate:
            made = gate(**limits)
            made.start()
            stack.callback(made.close)
            return made

        yield make


def test_calls_beyond_the_limit_are_refused_until_one_ends() -> None:
    full = gate()
    contexts = [Context() for _ in range(8)]
    for context in contexts:
        full.enter(context)  # type: ignore[arg-type]
    for _ in range(3):
        with pytest.raises(StatusError, match="8 calls in progress, the most that --max_concurrent_rpcs allows") as refused:
            full.enter(Context())  # type: ignore[arg-type]
        assert refused.value.code is Code.RESOURCE_EXHAUSTED
    contexts[3].end()
    full.enter(Context())  # type: ignore[arg-type]


def test_oldest_of_many_waiting_calls_are_cancelled_and_no_longer_count() -> None:
    waited = gate()
    contexts = [Context() for _ in range(20)]
    with ExitStack() as stack:
        for context in contexts:
            stack.enter_context(waited.waiting(waited.enter(context)))  # type: ignore[arg-type]
        assert [context.cancelled for context in contexts] == [True] * 16 + [False] * 4
        for _ in range(4):
            waited.enter(Context())  # type: ignore[arg-type]


def test_call_whose_message_comes_no_longer_waits() -> None:
    served = gate()
    contexts = [Context() for _ in range(8)]
    for context in contexts:
        assert served.receive(iter([b"x"]), served.enter(context)) == b"x"  # type: ignore[arg-type]
    assert not any(context.cancelled for context in contexts)
    contexts[0].end()
    assert served.receive(iter([]), served.enter(Context())) is None  # type: ignore[arg-type]


def test_oldest_unread_answers_are_cancelled_by_number_and_by_size() -> None:
    for size, kept in ((1, 2), (8 * MIB, 2), (12 * MIB, 1)):
        answering = gate()
        contexts = [Context() for _ in range(3)]
        for context in contexts:
            answering.answered(answering.enter(context), size)  # type: ignore[arg-type]
        assert [context.cancelled for context in contexts] == [True] * (3 - kept) + [False] * kept


def test_client_that_reads_nothing_is_cancelled_in_time(watching: Callable[..., Gate]) -> None:
    answering = watching(write_seconds=0.2)
    slow, quick = Context(), Context()
    answering.answered(answering.enter(slow), 1)  # type: ignore[arg-type]
    call = answering.enter(quick)  # type: ignore[arg-type]
    answering.answered(call, 1)
    quick.end()
    assert wait_until(lambda: slow.cancelled, seconds=10)
    assert not quick.cancelled


def test_growth_of_the_process_cancels_slow_messages_only(
    watching: Callable[..., Gate], monkeypatch: pytest.MonkeyPatch
) -> None:
    size = [100 * MIB]
    monkeypatch.setattr(memory, "resident", lambda: size[0])
    receiving = watching(calls=100)
    time.sleep(0.3)
    contexts = [Context() for _ in range(4)]
    with ExitStack() as stack:
        for context in contexts:
            stack.enter_context(receiving.waiting(receiving.enter(context)))  # type: ignore[arg-type]
        time.sleep(0.8)
        assert not any(context.cancelled for context in contexts)
        size[0] += 21 * MIB
        assert wait_until(lambda: all(context.cancelled for context in contexts), seconds=10)


def test_draining_cancels_calls_without_a_message(watching: Callable[..., Gate]) -> None:
    stopping = watching()
    context = Context()
    with stopping.waiting(stopping.enter(context)):  # type: ignore[arg-type]
        assert not stopping.is_drained
        stopping.drain()
        assert wait_until(lambda: context.cancelled, seconds=10)
    assert wait_until(lambda: stopping.is_drained, seconds=10)


def test_bytes_of_calls_are_reserved_until_they_end() -> None:
    reserving = gate()
    first, second = Context(), Context()
    call = reserving.enter(first)  # type: ignore[arg-type]
    reserving.reserve(call, 1000)
    assert call.reserved == 0, "small messages do not count"
    reserving.reserve(call, 2 * MIB)
    reserving.reserve(call, 8 * MIB)
    reserving.reserve(call, 4 * MIB)
    assert call.reserved == 8 * MIB
    got = threading.Event()
    other = reserving.enter(second)  # type: ignore[arg-type]
    thread = threading.Thread(target=lambda: (reserving.reserve(other, 4 * MIB), got.set()))
    thread.start()
    assert not got.wait(0.2)
    first.end()
    assert got.wait(10)
    thread.join()
    second.end()
    assert reserving._budget.held == 0


def test_client_that_leaves_while_its_call_waits_reserves_nothing() -> None:
    reserving = gate()
    holder, leaver = Context(), Context()
    held = reserving.enter(holder)  # type: ignore[arg-type]
    reserving.reserve(held, 9 * MIB)
    waiting = reserving.enter(leaver)  # type: ignore[arg-type]
    thread = threading.Thread(target=reserving.reserve, args=(waiting, 5 * MIB))
    thread.start()
    time.sleep(0.1)
    leaver.end()
    holder.end()
    thread.join(10)
    assert reserving._budget.held == 0


def test_as_many_bytes_may_wait_as_may_be_held() -> None:
    budget = Budget(10)
    budget.exchange(0, 25)  # nobody holds any, so even too many are given
    threads = [threading.Thread(target=budget.exchange, args=(0, 6))]
    threads[0].start()
    time.sleep(0.1)
    with pytest.raises(StatusError, match=r"Requests of 6 bytes wait for memory \(--max_decoded_bytes=10\)") as refused:
        budget.exchange(0, 5)
    assert refused.value.code is Code.RESOURCE_EXHAUSTED
    budget.release(25)
    threads[0].join(10)
    assert budget.held == 6
