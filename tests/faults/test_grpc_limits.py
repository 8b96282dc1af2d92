"""gRPC clients that cost much: the server stays alive, keeps its memory, and answers a light client beside each of them."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import grpc
import pytest

from serving.protocol.messages import PREDICTION_SERVICE
from tests.faults.attacks.over_grpc import _frame, examples, filled, stream_resets, zeros
from tests.faults.light_client import LightClient, MemoryPeak, resident_mb
from tests.faults.victim import PREDICT, UNLIMITED, Victim, predict_message, tensor, victim

MIB = 2**20
LIMIT_MIB = 64
FLAGS = (
    f"--max_decoded_bytes={LIMIT_MIB * MIB}", f"--max_request_bytes={32 * MIB}", "--max_tensor_elements=1000000",
    "--max_concurrent_rpcs=64", "--write_timeout_in_ms=2000", "--enable_grpc_healthcheck_service=true",
)  # fmt: skip


@pytest.fixture(scope="module")
def attacked() -> Iterator[Victim]:
    with victim(*FLAGS) as running:
        yield running


@contextmanager
def beside(target: Victim, *, rise_mib: float = 2.5 * LIMIT_MIB) -> Iterator[None]:
    """Assert that a light client is served during the block, and that memory stays within its limit."""
    with LightClient(target.server) as light, MemoryPeak(target.server.pid) as memory:
        yield
        time.sleep(0.5)
    assert target.server.process.poll() is None
    assert not light.result.losses, light.result
    assert light.result.p99 < 1.0, light.result
    assert memory.rise_mb < rise_mib


def content(mebibytes: int) -> bytes:
    rows = mebibytes * MIB // 16
    data: bytes = predict_message(x=tensor([rows, 4], tensor_content=bytes(rows * 16))).SerializeToString()
    return data


@pytest.mark.parametrize("count", [1, 20])
def test_few_bytes_that_stand_for_large_tensors_are_refused(attacked: Victim, count: int) -> None:
    with beside(attacked, rise_mib=20):
        code, details = attacked.call(filled(count)())
    assert code == "INVALID_ARGUMENT"
    assert details == (
        f"The request has {count * 300_000_000:,} elements in all its tensors or examples, more than the limit of 1,000,000 "
        "(--max_tensor_elements)."
    )


def test_elements_of_all_inputs_count_together(attacked: Victim) -> None:
    inputs = {name: tensor([600_000], float_val=[1.0]) for name in ("a", "b")}
    code, details = attacked.call(predict_message("multiply", **inputs).SerializeToString())
    assert (code, "1,200,000 elements" in details) == ("INVALID_ARGUMENT", True)


def test_bytes_are_limited_where_elements_are_few(attacked: Victim) -> None:
    """A string of 20 bytes takes about 100 with its objects."""
    strings = tensor([999_999], 7, string_val=[b"x" * 20] * 999_999)
    code, details = attacked.call(predict_message(x=strings).SerializeToString())
    assert (code, "(--max_decoded_bytes)" in details) == ("INVALID_ARGUMENT", True)


def test_context_that_is_put_before_each_example_counts_each_time(attacked: Victim) -> None:
    with beside(attacked, rise_mib=40):
        code, details = attacked.call(examples(10_000, MIB)(), f"/{PREDICTION_SERVICE}/Classify")
    assert (code, "(--max_decoded_bytes)" in details) == ("INVALID_ARGUMENT", True)


@pytest.mark.slow
def test_compressed_message_counts_as_it_is_unpacked(attacked: Victim) -> None:
    with beside(attacked):
        for _ in range(3):
            assert attacked.call(zeros(200)(), gzip=True)[0] == "RESOURCE_EXHAUSTED"


def test_memory_of_large_requests_is_given_back(attacked: Victim) -> None:
    data = predict_message(x=tensor([250_000, 4], tensor_content=bytes(4_000_000))).SerializeToString()
    with beside(attacked), MemoryPeak(attacked.server.pid) as memory:
        for _ in range(10):
            assert attacked.call(data)[0] == "OK"
        deadline = time.monotonic() + 15  # a thread gives it back from time to time
        while resident_mb(attacked.server.pid) - memory.idle_mb >= 40 and time.monotonic() < deadline:
            time.sleep(0.1)
    assert memory.after_mb - memory.idle_mb < 40


def opened(target: Victim, count: int, send: Callable[[grpc.Channel, int], object]) -> ExitStack:
    """Open channels, so that each connection has few calls, and do something on each."""
    stack = ExitStack()
    for number in range(count):
        channel = grpc.insecure_channel(target.server.grpc_target, [("grpc.use_local_subchannel_pool", 1), *UNLIMITED])
        send(stack.enter_context(channel), number)
    return stack


def never_sent(requests: list[Any]) -> Iterator[bytes]:
    """An iterator of messages that ends when the list is no longer empty."""
    while not requests:
        time.sleep(0.05)
    yield from ()


OTHER_METHODS = (
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    "/grpc.health.v1.Health/Watch",
    "/grpc.health.v1.Health/Check",
)


@pytest.mark.parametrize(
    "method",
    [PREDICT, *(pytest.param(method, marks=pytest.mark.slow) for method in OTHER_METHODS)],
)  # fmt: skip
def test_calls_without_a_message_do_not_hold_the_threads(attacked: Victim, method: str) -> None:
    """Of 300 calls whose message never comes, a half of --max_concurrent_rpcs are kept."""
    over: list[Any] = []

    def stall(channel: grpc.Channel, _: int) -> None:
        for _ in range(30):
            calls.append(channel.stream_stream(method)(never_sent(over), timeout=60.0))

    calls: list[Any] = []
    with beside(attacked), opened(attacked, 10, stall):
        time.sleep(2.0)
        alive = sum(call.is_active() for call in calls)
        over.append("end")
    assert alive <= 32


@pytest.mark.slow
def test_watchers_of_health_do_not_hold_the_threads(attacked: Victim) -> None:
    calls: list[Any] = []

    def watch(channel: grpc.Channel, _: int) -> None:
        calls.extend(channel.unary_stream("/grpc.health.v1.Health/Watch")(b"", timeout=60.0) for _ in range(30))

    with beside(attacked), opened(attacked, 5, watch):
        time.sleep(2.0)
    with grpc.insecure_channel(attacked.server.grpc_target) as channel:
        assert next(channel.unary_stream("/grpc.health.v1.Health/Watch")(b"", timeout=10.0)) == b"\x08\x01"


def headers(path: str) -> bytes:
    encoded = path.encode()
    return (
        b"\x83\x86\x04"
        + bytes([len(encoded)])
        + encoded
        + b"\x01\x01x\x0f\x10\x10application/grpc\x00\x02te\x08trailers"
    )


_RST_STREAM = 3
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def test_large_messages_that_stop_before_their_end_are_dropped(attacked: Victim) -> None:
    """40 clients send 30 of 31 MiB and then nothing: 1,200 MiB, of which no more may be kept than the limit."""
    message = bytes(31 * MIB)
    head = b"\0" + len(message).to_bytes(4, "big")
    with beside(attacked, rise_mib=5 * LIMIT_MIB), ExitStack() as kept:
        for _ in range(40):
            connection = kept.enter_context(attacked.raw(attacked.server.grpc_port))
            connection.settimeout(1.0)
            connection.sendall(PREFACE + _frame(4, 0, 0, b"") + _frame(8, 0, 0, (2**30).to_bytes(4, "big")))
            connection.sendall(_frame(1, 4, 1, headers(PREDICT)) + _frame(0, 0, 1, head))
            sent = 0
            with suppress(OSError):
                while sent < 30 * MIB:
                    connection.sendall(_frame(0, 0, 1, message[:16_384]))
                    sent += 16_384


@pytest.mark.slow
def test_answers_that_are_not_read_are_dropped(attacked: Victim) -> None:
    """Each of 120 clients asks for 3.6 MB and leaves its window at 64 KiB; together that is 430 MB."""
    request = predict_message("fill", n=tensor([], 3, int_val=[900_000])).SerializeToString()
    body = b"\0" + len(request).to_bytes(4, "big") + request
    with beside(attacked, rise_mib=7 * LIMIT_MIB), ExitStack() as kept:
        connections = [kept.enter_context(attacked.raw(attacked.server.grpc_port)) for _ in range(120)]
        for connection in connections:
            connection.sendall(
                PREFACE + _frame(4, 0, 0, b"") + _frame(1, 4, 1, headers(PREDICT)) + _frame(0, 1, 1, body)
            )
            time.sleep(0.02)
        assert all(_is_reset(connection) for connection in connections)


def _is_reset(connection: socket.socket) -> bool:
    """Read frames until one of them resets stream 1. Return False if the connection ends, or is silent for 5 s, before that."""
    connection.settimeout(5.0)
    data = b""
    with suppress(OSError):
        while chunk := connection.recv(2**20):
            data += chunk
            while len(data) >= 9 and len(data) >= (size := 9 + int.from_bytes(data[:3], "big")):
                if data[3] == _RST_STREAM:
                    return True
                data = data[size:]
    return False


@pytest.mark.slow
def test_streams_that_are_reset_at_once_do_no_harm(attacked: Victim) -> None:
    with beside(attacked):
        assert stream_resets(attacked)


@pytest.mark.sample(2)
@pytest.mark.parametrize("frame", [_frame(6, 0, 0, bytes(8)), _frame(4, 0, 0, b"")], ids=["ping", "settings"])
def test_floods_of_control_frames_end_their_connection_or_do_no_harm(attacked: Victim, frame: bytes) -> None:
    with beside(attacked):
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            with attacked.raw(attacked.server.grpc_port) as connection, suppress(OSError):
                connection.sendall(PREFACE + _frame(4, 0, 0, b""))
                connection.settimeout(0.5)
                while time.monotonic() < end:
                    connection.sendall(frame * 200)


def test_metadata_is_limited(attacked: Victim) -> None:
    with grpc.insecure_channel(attacked.server.grpc_target, [("grpc.max_metadata_size", 2**24)]) as channel:
        with pytest.raises(grpc.RpcError) as refused:
            channel.unary_unary(PREDICT)(b"", timeout=20.0, metadata=(("x", "y" * 200_000),))
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_calls_beyond_the_limit_are_refused_with_its_flag() -> None:
    """The server is a separate one, as its kernels go on after the calls are cancelled."""
    request = predict_message("spin", turns=tensor([], 3, int_val=[100_000])).SerializeToString()
    calls: list[Any] = []
    with victim(*FLAGS) as busy, opened(busy, 4, lambda channel, _: calls.extend(
        channel.unary_unary(PREDICT).future(request, timeout=30.0) for _ in range(20)
    )):  # fmt: skip
        deadline = time.monotonic() + 20
        while not any(call.done() for call in calls) and time.monotonic() < deadline:
            time.sleep(0.05)
        refused = [call for call in calls if call.done()]
        assert {call.code() for call in refused} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
        assert {call.details() for call in refused} == {
            "The server has 64 calls in progress, the most that --max_concurrent_rpcs allows. Try again later."
        }
        for call in calls:
            call.cancel()


@pytest.mark.slow
def test_arguments_of_the_user_win() -> None:
    with victim(*FLAGS, "--grpc_channel_arguments=grpc.max_receive_message_length=1000") as small:
        code, details = small.call(content(1))
    assert (code, "larger than max" in details) == ("RESOURCE_EXHAUSTED", True)


@pytest.mark.slow
def test_sigterm_does_not_wait_for_messages_that_never_come() -> None:
    with victim(*FLAGS) as stopping, socket.socket() as stalled:
        stalled.connect(("127.0.0.1", stopping.server.grpc_port))
        stalled.sendall(PREFACE + _frame(4, 0, 0, b"") + _frame(1, 4, 1, headers(PREDICT)))
        time.sleep(0.5)
        began = time.monotonic()
        assert stopping.server.terminate() == 0
        assert time.monotonic() - began < 10.0


def test_status_of_a_call_without_a_message_is_unimplemented(attacked: Victim) -> None:
    with grpc.insecure_channel(attacked.server.grpc_target) as channel, pytest.raises(grpc.RpcError) as refused:
        channel.stream_unary(PREDICT)(iter(()), timeout=20.0)
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
