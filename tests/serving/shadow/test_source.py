"""The requests of logs, one at a time."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from serving.errors import GoldenError
from serving.shadow.source import MOST_DAMAGED, Logged, Source
from tests.serving.memory import assert_allocates_less_than
from tests.serving.request_logs import batches, others, predict, write_log


def drained(source: Source) -> list[Logged]:
    return list(iter(source.take, None))  # type: ignore[arg-type]


def test_model_of_the_first_request_is_the_model(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log", [*others(), predict("a"), predict("b"), predict("a", "other")])
    source = Source([log], None, None, None)
    assert source.first() is source.first() and source.model == "a"
    assert [(logged.index, logged.record, logged.request.signature) for logged in drained(source)] == [
        (0, 5, "serving_default"), (1, 7, "other"),
    ]  # fmt: skip
    assert source.left_out.models == {"b": 1} and sum(source.left_out.kinds.values()) == 4
    assert source.take() is None


def test_signature_and_limit_leave_out_requests(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log", [predict("a", name) for name in ("x", "y", "x", "x")])
    source = Source([log], "a", "x", 2)
    assert [logged.record for logged in drained(source)] == [1, 3]
    assert source.left_out.signatures == {"y": 1}
    assert source.left_out.sentences() == ["1 request of the signature 'y' skipped."]


def test_files_of_folders_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name in ("b", "a", "sub/c", ".hidden", ".git/d"):
        write_log(tmp_path / "logs" / name, [predict(name)])
    source = Source([tmp_path / "logs"], None, None, None)
    assert [source.first().request.model, *source.left_out.models] == ["a"]
    drained(source)
    assert list(source.left_out.models) == ["b", "sub/c"]


def test_what_a_server_appends_later_is_not_read(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log", [predict("a"), predict("a")])
    source = Source([log], None, None, None)
    source.first()
    more = write_log(tmp_path / "more", [predict("a")]).read_bytes()
    with log.open("ab") as file:
        file.write(more)
    assert len(drained(source)) == 2 and not source.left_out.damaged


def test_place_of_a_request_can_be_read(tmp_path: Path) -> None:
    log = write_log(tmp_path / "requests-1.tfrecord", [predict("a")])
    assert str(Source([log], None, None, None).first()) == "record 1 of requests-1.tfrecord"


def test_missing_and_empty_places_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path, message in (
        (tmp_path / "none", "cannot be read: .*No such file"),
        (tmp_path / "empty", "has no file of requests"),
        (Path("a\0b"), "cannot be read: "),
    ):
        with pytest.raises(GoldenError, match=message):
            Source([path], None, None, None)


def test_many_damaged_records_are_counted_and_some_named(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log", [predict("a"), *[b"\xff"] * 50])
    source = Source([log], None, None, None)
    assert len(drained(source)) == 1
    assert (source.left_out.damaged_count, len(source.left_out.damaged)) == (50, MOST_DAMAGED)


def test_threads_share_the_requests(tmp_path: Path) -> None:
    source = Source([write_log(tmp_path / "log", [predict("a")] * 400)], None, None, None)
    taken: list[int] = []
    threads = [threading.Thread(target=lambda: taken.extend(each.index for each in drained(source))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == list(range(400))


def test_large_log_is_read_one_request_at_a_time(tmp_path: Path) -> None:
    x = np.zeros((1024, 256), np.float32)  # a megabyte
    log = write_log(tmp_path / "log", [predict("a", x=x)] * 40)
    with assert_allocates_less_than(8_000_000):
        source = Source([log], None, None, None)
        count = 0
        while source.take():
            count += 1
    assert count == 40


def test_inputs_are_those_that_were_logged(tmp_path: Path) -> None:
    (x,) = batches(1, 4)
    logged = Source([write_log(tmp_path / "log", [predict("a", x=x, output_filter=["y"])])], None, None, None).first()
    np.testing.assert_array_equal(logged.request.inputs["x"], x)
    assert logged.output_filter == ("y",) and not logged.request.outputs
