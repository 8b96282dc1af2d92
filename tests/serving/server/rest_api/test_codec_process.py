"""Processes that read and write large JSON."""

from __future__ import annotations

import gzip
import sys
import threading
import time
from collections.abc import Iterator

import numpy as np
import psutil
import pytest

from serving.protocol.json_codec import read_predict, write_predictions
from serving.protocol.json_examples import read_examples
from serving.protocol.messages import serving_message
from serving.protocol.status import Code, StatusError
from serving.server.config.options import ServerOptions
from serving.server.models.states import wait_until
from serving.server.rest_api.codec_process import Cancellation, CodecProcesses
from serving.server.rest_api.errors import TooLargeError

FLOAT = 1
LARGE = b'{"inputs": [' + b"1," * 20_000_000 + b"1]}"
"""Takes seconds to read."""


@pytest.fixture
def processes() -> Iterator[CodecProcesses]:
    made = CodecProcesses(ServerOptions())
    yield made
    made.stop()


def children() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if "codec_child" in " ".join(child.cmdline())]


def test_answers_are_those_of_this_process(processes: CodecProcesses) -> None:
    body = b'{"signature_name": "s", "instances": [[1, 2.5], [3, 4]]}'
    with processes.lend(Cancellation(), len(body)) as lease:
        read = lease.read_predict(gzip.compress(body), gzipped=True)
        assert (read.signature_name, read.is_row) == ("s", True)
        arrays = read.tensors({"x": FLOAT})
        expected = read_predict(body).tensors({"x": FLOAT})
        assert arrays["x"].dtype == expected["x"].dtype
        assert np.array_equal(arrays["x"], expected["x"])
        outputs = {"y": arrays["x"], "s_bytes": np.array([b"\xff", b"b"], np.object_)}
        assert lease.write_predictions(outputs, row=True) == write_predictions(outputs, row=True)


def test_examples_are_those_of_this_process(processes: CodecProcesses) -> None:
    body = b'{"signature_name": "s", "examples": [{"a": 1, "b": ["x"]}, {"c": 2.5}]}'
    message, expected = serving_message("Input")(), serving_message("Input")()
    with processes.lend(Cancellation(), len(body)) as lease:
        assert lease.read_examples(body, message, gzipped=False) == read_examples(body, expected)
    assert message == expected


@pytest.mark.parametrize("body", [b"{", b'{"instances": [1, "a"]}', b'{"x": 1}', b"[" * 1000], ids=str)
def test_errors_are_those_of_this_process(processes: CodecProcesses, body: bytes) -> None:
    with pytest.raises(StatusError) as expected:
        read_predict(body, 128).tensors({"x": FLOAT})
    with pytest.raises(StatusError) as error, processes.lend(Cancellation(), len(body)) as lease:
        lease.read_predict(body, gzipped=False).tensors({"x": FLOAT})
    assert str(error.value) == str(expected.value)


def test_process_is_used_again_after_an_error(processes: CodecProcesses) -> None:
    for _ in range(2):
        with pytest.raises(StatusError), processes.lend(Cancellation(), 1) as lease:
            lease.read_predict(b"{", gzipped=False)
    assert len(children()) == 1


def test_process_ends_after_a_large_body(processes: CodecProcesses) -> None:
    with processes.lend(Cancellation(), 2**23) as lease:
        lease.read_predict(b'{"inputs": 1}', gzipped=False)
        assert children()
    assert not children()


def test_process_ends_with_its_request(processes: CodecProcesses) -> None:
    cancellation = Cancellation()
    threading.Timer(0.7, cancellation.cancel).start()
    began = time.monotonic()
    with pytest.raises(StatusError) as error, processes.lend(cancellation, len(LARGE)) as lease:
        lease.read_predict(LARGE, gzipped=False).tensors({"x": FLOAT})
    assert error.value.code is Code.CANCELLED
    assert time.monotonic() - began < 3
    assert not children()
    with processes.lend(Cancellation(), 1) as lease:
        assert lease.read_predict(b'{"inputs": 1}', gzipped=False).tensors({"x": FLOAT})["x"] == 1


def test_waiting_request_can_be_cancelled(processes: CodecProcesses) -> None:
    cancellation = Cancellation()
    with processes.lend(Cancellation(), 2**30):
        threading.Timer(0.1, cancellation.cancel).start()
        with pytest.raises(StatusError) as error:
            processes.lend(cancellation, 1)
    assert error.value.code is Code.CANCELLED
    with processes.lend(Cancellation(), 2**30):
        pass


def test_cancelled_request_gets_no_process(processes: CodecProcesses) -> None:
    cancellation = Cancellation()
    cancellation.cancel()
    with pytest.raises(StatusError):
        processes.lend(cancellation, 1)
    assert not children()


def test_requests_share_the_parts() -> None:
    """Two small jobs run beside each other, and a large one waits for both."""
    processes = CodecProcesses(ServerOptions(max_large_bodies=2))
    order: list[str] = []

    def large() -> None:
        with processes.lend(Cancellation(), 2**30):
            order.append("large")

    with processes.lend(Cancellation(), 1):
        with processes.lend(Cancellation(), 1):
            waiting = threading.Thread(target=large)
            waiting.start()
            time.sleep(0.3)
            order.append("two")
        time.sleep(0.3)
        order.append("one")
    waiting.join()
    assert order == ["two", "one", "large"]
    processes.stop()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not enforce the limit")
def test_body_that_needs_too_much_memory_is_too_large() -> None:
    processes = CodecProcesses(ServerOptions(max_decoded_bytes=2**27))
    body = b'{"inputs": [' + b"[]," * 5_000_000 + b"1]}"
    with pytest.raises(TooLargeError, match="--max_decoded_bytes") as error, processes.lend(Cancellation(), len(body)) as lease:
        lease.read_predict(body, gzipped=False)
    assert error.value.http_status == 413
    processes.stop()
    assert not children()


def test_process_that_was_killed_is_replaced(processes: CodecProcesses) -> None:
    with processes.lend(Cancellation(), 1):
        pass
    (child,) = children()
    child.kill()
    assert wait_until(lambda: child.status() == psutil.STATUS_ZOMBIE, seconds=5)
    with processes.lend(Cancellation(), 1) as lease:
        lease.read_predict(b'{"inputs": 1}', gzipped=False)
    (other,) = children()
    assert other.pid != child.pid


def test_stop_ends_all_processes(processes: CodecProcesses) -> None:
    with processes.lend(Cancellation(), 1):
        processes.stop()
    assert not children()


def test_process_ends_with_the_server() -> None:
    """A process whose server was killed gets an end of file and leaves."""
    processes = CodecProcesses(ServerOptions())
    with processes.lend(Cancellation(), 1) as lease:
        (child,) = children()
        lease._process._process.stdin.close()  # type: ignore[union-attr]
        assert child.wait(10) == 0
    processes.stop()
