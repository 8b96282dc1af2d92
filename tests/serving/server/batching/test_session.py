"""Batching of a servable that runs in NumPy: merging, padding, splitting and failures."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from serving.protocol.status import Code, StatusError, invalid_argument
from serving.protocol.tensors import Array
from serving.server.batching.metrics import BatchingMetrics
from serving.server.batching.parameters import QueueOptions
from serving.server.batching.scheduler import Scheduler
from serving.server.batching.session import BatchedServable


class Doubler:
    """`y` is twice `x`, `first` is `x`, and `scalar` and `short` lack rows. `fed` holds the inputs."""

    path = "/models/doubler/1"

    def __init__(self) -> None:
        self.signatures: dict[str, Any] = {}
        self.fed: list[Array] = []
        self.gate = threading.Event()
        self.gate.set()
        self.closed = False

    def run(self, feeds: Mapping[str, Array], fetches: Sequence[str]) -> list[Array]:
        self.gate.wait(20)
        x = feeds["x"]
        self.fed.append(x)
        if x.dtype == np.float32 and (x < 0).any():
            raise invalid_argument("negative")
        if x.dtype == np.int8:
            raise KeyError("a bug")
        known = {"y": x * 2, "first": x, "scalar": np.float32(1), "short": x[:0]}
        return [np.asarray(known[name]) for name in fetches]

    def close(self) -> None:
        self.closed = True


class Rig:
    """A model, its batching and clients."""

    def __init__(self) -> None:
        self.model = Doubler()
        self.metrics = BatchingMetrics()
        self.scheduler = Scheduler(1)
        self.pool = ThreadPoolExecutor(8)

    def batched(self, **options: Any) -> BatchedServable:
        return BatchedServable(self.model, self.scheduler, QueueOptions(**options), self.metrics)

    def together(
        self, servable: BatchedServable, arrays: Sequence[Array], fetches: Sequence[str] = ("y",)
    ) -> list[Any]:
        """Send each array as a request while the only batch thread is busy. Return the answers or errors in order."""
        self.model.gate.clear()
        blocker = self.pool.submit(servable.run, {"x": np.zeros((1, 9), np.float64)}, ["first"])
        wait_for(lambda: "wrapped_run_count{} 1" in "\n".join(self.metrics.lines()))
        futures = []
        for array in arrays:
            before = _tasks(servable)
            futures.append(self.pool.submit(servable.run, {"x": array}, fetches))
            future = futures[-1]
            wait_for(lambda before=before, future=future: _tasks(servable) > before or future.done())
        self.model.gate.set()
        blocker.result()
        return [future.exception() or future.result() for future in futures]


def _tasks(servable: BatchedServable) -> int:
    return sum(len(batch.tasks) for queue in servable._queues.values() for batch in queue._batches)


def wait_for(condition: Any) -> None:
    from serving.server.models.states import wait_until

    assert wait_until(condition, seconds=20)


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig()
    yield rig
    rig.model.gate.set()
    rig.pool.shutdown()
    rig.scheduler.stop()


def f32(*rows: float) -> Array:
    return np.array(rows, np.float32).reshape(-1, 1)


def test_requests_run_as_one_batch_and_get_their_own_rows(rig: Rig) -> None:
    servable = rig.batched(input_limit=8, execution_limit=8)
    answers = rig.together(servable, [f32(1), f32(2, 3), f32(4)])
    assert [answer[0].ravel().tolist() for answer in answers] == [[2], [4, 6], [8]]
    assert [len(fed) for fed in rig.model.fed] == [1, 4]


def test_negative_limits_never_split_or_refuse(rig: Rig) -> None:
    limits = dict.fromkeys(("input_limit", "execution_limit", "max_enqueued"), 2**64 - 1)
    servable = rig.batched(**limits, splits=True)
    answers = rig.together(servable, [f32(*range(2000)), f32(1)])
    assert [len(answer[0]) for answer in answers] == [2000, 1]
    assert len(rig.model.fed[-1]) == 2001


def test_batches_limited_to_no_rows_refuse_every_request(rig: Rig) -> None:
    servable = rig.batched(execution_limit=0, splits=True)
    with pytest.raises(StatusError, match="max_execution_batch_size=0") as full:
        servable.run({"x": f32(1)}, ["y"])
    assert full.value.code is Code.UNAVAILABLE


def test_results_follow_the_order_of_fetches_with_duplicates(rig: Rig) -> None:
    servable = rig.batched()
    results = servable.run({"x": f32(3)}, ["y", "first", "y"])
    assert [result.item() for result in results] == [6, 3, 6]


def test_batch_is_padded_to_an_allowed_size_with_the_first_row_of_the_last_request(rig: Rig) -> None:
    servable = rig.batched(input_limit=8, execution_limit=8, allowed_sizes=(2, 8))
    answers = rig.together(servable, [f32(1), f32(2, 3)])
    assert [answer[0].ravel().tolist() for answer in answers] == [[2], [4, 6]]
    assert rig.model.fed[-1].ravel().tolist() == [1, 2, 3, 2, 2, 2, 2, 2]
    lines = rig.metrics.lines()
    assert ':tensorflow:serving:batching_session:padding_size_sum{execution_batch_size="8"} 5' in lines
    assert ":tensorflow:serving:batching_session:processed_batch_size_sum{} 10" in lines
    assert ":tensorflow:serving:batching_session:input_batch_size_count{} 3" in lines
    assert ':tensorflow:serving:batching_session:queuing_latency_count{thread_pool_name=""} 3' in lines
    assert ":tensorflow:serving:batching_session:wrapped_run_count{} 2" in lines


def test_failing_request_fails_its_batch_with_one_error_object_per_request(rig: Rig) -> None:
    servable = rig.batched()
    first, second = rig.together(servable, [f32(1), f32(-1)])
    assert (first.code, first.message, second.message) == (Code.INVALID_ARGUMENT, "negative", "negative")
    assert first is not second
    assert servable.run({"x": f32(5)}, ["y"])[0].item() == 10


def test_wrong_dtype_fails_alone_and_a_bug_does_not_end_the_threads(rig: Rig) -> None:
    servable = rig.batched()
    good, bug = rig.together(servable, [f32(1), np.zeros((1, 1), np.int8)])
    assert good[0].item() == 2
    assert isinstance(bug, KeyError)
    assert servable.run({"x": f32(5)}, ["y"])[0].item() == 10


def test_different_lengths_fail_without_padding(rig: Rig) -> None:
    arrays = [np.full((1, 2), 7, np.float32), np.full((2, 3), 5, np.float32)]
    refused = rig.together(rig.batched(), arrays)
    assert {(error.code, error.message.split(" from ")[0]) for error in refused} == {
        (Code.FAILED_PRECONDITION, "Tensors with name 'x'")
    }


def test_different_lengths_are_padded_with_the_first_value(rig: Rig) -> None:
    arrays = [np.array([[7, 8]], np.float32), np.full((2, 3), 5, np.float32)]
    short, long = rig.together(rig.batched(pads_lengths=True), arrays, ["first"])
    assert short[0].tolist() == [[7, 8, 7]]
    assert long[0].tolist() == [[5, 5, 5]] * 2


def test_lengths_that_cannot_be_padded_are_refused(rig: Rig) -> None:
    empty, full = rig.together(rig.batched(pads_lengths=True), [np.zeros((1, 0), np.float32), f32(1)])
    assert empty.message == full.message == "Got empty tensor in batch of non-empty tensors."
    rig.metrics.__init__()  # type: ignore[misc]
    flat, deep = rig.together(rig.batched(pads_lengths=True), [np.zeros(1, np.float32), f32(1)])
    assert flat.message == deep.message == "Tensors with name 'x' from different tasks have different ranks."


@pytest.mark.parametrize(
    ("feeds", "fetches", "message"),
    [
        ({}, ["y"], "Batching Run() must have at least one input tensor"),
        ({"x": np.float32(1)}, ["y"], "Batching Run() input tensors must have at least one dimension"),
        (
            {"x": f32(1), "z": f32(1, 2)},
            ["y"],
            "Batching Run() input tensors must have equal 0th-dimension size",
        ),
        ({"x": f32(1)}, ["scalar"], "Batched output tensor has 0 dimensions"),
        (
            {"x": f32(1)},
            ["short"],
            "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes of the input tensors",
        ),
        ({"x": f32(*range(9))}, ["y"], "Task size 9 is larger than maximum input batch size 8"),
    ],
)
def test_requests_that_cannot_be_batched_are_refused(rig: Rig, feeds: dict[str, Array], fetches: list[str], message: str) -> None:
    with pytest.raises(StatusError) as refused:
        rig.batched(input_limit=8, execution_limit=8).run(
            {name: np.asarray(array) for name, array in feeds.items()}, fetches
        )
    assert refused.value.message == message


def test_request_without_rows_is_answered_at_once(rig: Rig) -> None:
    servable = rig.batched(timeout_seconds=60.0, allowed_sizes=(4, 1000))
    (result,) = servable.run({"x": np.zeros((0, 3), np.float32)}, ["y"])
    assert result.shape == (0, 3)


def test_large_request_is_split_and_its_results_are_joined(rig: Rig) -> None:
    servable = rig.batched(input_limit=100, execution_limit=4, splits=True)
    small, large = rig.together(servable, [f32(0), f32(*range(1, 11))])
    assert small[0].item() == 0
    assert large[0].ravel().tolist() == [2 * value for value in range(1, 11)]
    assert [len(fed) for fed in rig.model.fed] == [1, 4, 4, 3]


def test_lone_request_waits_for_others_until_the_timeout(rig: Rig) -> None:
    servable = rig.batched(timeout_seconds=0.2, input_limit=2, execution_limit=2)
    futures = [rig.pool.submit(servable.run, {"x": f32(value)}, ["y"]) for value in (1, 2)]
    assert [future.result()[0].item() for future in futures] == [2, 4]
    assert servable.run({"x": f32(3)}, ["y"])[0].item() == 6


def test_closing_closes_the_wrapped_servable(rig: Rig) -> None:
    servable = rig.batched()
    servable.run({"x": f32(1)}, ["y"])
    servable.close()
    assert rig.model.closed
    assert not rig.scheduler._queues
