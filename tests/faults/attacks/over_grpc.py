"""Attacks over the gRPC port."""

from __future__ import annotations

import base64
import shutil
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from threading import Semaphore

import grpc

from serving.protocol.messages import MODEL_SERVICE, PREDICTION_SERVICE, serving_message
from tests.faults.attacks.attack import SECONDS, Attack, at_once, counted
from tests.faults.victim import PREDICT, RECORDED, Victim, predict_message, tensor

MIB = 2**20
ELEMENTS = "--max_tensor_elements"
BYTES = "--max_request_bytes"
DECODED = "--max_decoded_bytes"
DAY_BYTES_PER_SECOND = 10e6 / 86400
"""10 MB of log per day."""


def called(
    request: Callable[[], bytes], method: str = PREDICT, *, gzip: bool = False, times: int = 1, ok: bool = True
) -> Callable[[Victim], str]:
    """Return an attack that sends a message, `times` times at once; with ok=False it must not be answered with OK."""

    def run(victim: Victim) -> str:
        data = request()
        answers = at_once(lambda: victim.call(data, method, gzip=gzip)[0], times)
        assert ok or "OK" not in answers, "the message is accepted"
        return counted(answers)

    return run


def filled(count: int, dtype: int = 1, **values: object) -> Callable[[], bytes]:
    """Return a function that makes a message with inputs of 3e8 elements, which hold one value."""

    def make() -> bytes:
        one = tensor([300_000_000], dtype, **(values or {"float_val": [1.0]}))
        data: bytes = predict_message(**{f"x{i}" if i else "x": one for i in range(count)}).SerializeToString()
        return data

    return make


def zeros(mebibytes: int) -> Callable[[], bytes]:
    """Return a function that makes a message with so many MiB of zeros."""

    def make() -> bytes:
        rows = mebibytes * MIB // 16
        data: bytes = predict_message(x=tensor([rows, 4], tensor_content=bytes(rows * 16))).SerializeToString()
        return data

    return make


def lying_tensors(victim: Victim) -> str:
    """Send shapes that do not match their data; each must be refused, or its missing values filled within the limits."""
    liars = [
        tensor([4, 4], tensor_content=b"abc"), tensor([2**40], tensor_content=bytes(16)), tensor([-1, 4], float_val=[1]),
        tensor([2**62, 4], float_val=[1]), tensor([2**31, 2**31, 4], float_val=[1]), tensor([0, 2**40], float_val=[1]),
        tensor([1, 4], dtype=99, float_val=[1]), tensor([1] * 300, float_val=[1]), tensor([4], tensor_content=bytes(4096)),
        tensor([2**33], dtype=7, string_val=[b"x"]), tensor([10**8, 0, 10**8]),
    ]  # fmt: skip
    return counted(victim.call(predict_message(x=liar).SerializeToString())[0] for liar in liars)


def empty_products(victim: Victim) -> str:
    """Multiply matrices whose inner dimension is 0."""
    request = predict_message("multiply", a=tensor([2, 0]), b=tensor([0, 3])).SerializeToString()
    return counted(victim.call(request)[0] for _ in range(3))


def malformed_messages(victim: Victim) -> str:
    """Send 1,000 messages per second that do not parse."""
    began, seconds, answers = time.monotonic(), 2 * SECONDS, []
    under_way = Semaphore(200)
    with grpc.insecure_channel(victim.server.grpc_target) as channel:
        methods = [channel.unary_unary(f"/{PREDICTION_SERVICE}/{name}") for name in ("Predict", "Classify", "GetModelMetadata")]
        calls = []
        while time.monotonic() - began < seconds:
            time.sleep(max(began + len(calls) / 1000 - time.monotonic(), 0))
            under_way.acquire()
            call = methods[len(calls) % 3].future(b"\xff" * 16, timeout=20.0)
            call.add_done_callback(lambda _: under_way.release())
            calls.append(call)
        answers = [call.code().name for call in calls]
    return f"{counted(answers)} at {len(answers) / seconds:.0f}/s"


def connections(victim: Victim) -> str:
    """Open 500 connections to each port and keep them."""
    opened = 0
    with ExitStack() as kept:
        for _ in range(500):
            for port in (victim.server.grpc_port, victim.server.rest_port):
                with suppress(OSError):
                    kept.enter_context(socket.create_connection(("127.0.0.1", port), timeout=0.2))
                    opened += 1
        time.sleep(SECONDS)
    return f"{opened} opened"


def stream_resets(victim: Victim) -> str:
    """Begin streams and reset each at once (CVE-2023-44487)."""
    path = PREDICT.encode()
    block = b"\x83\x86\x04" + bytes([len(path)]) + path + b"\x01\x01x\x0f\x10\x10application/grpc\x00\x02te\x08trailers"
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(4, 0, 0, b"")
    sent, end = 0, time.monotonic() + SECONDS
    while time.monotonic() < end:
        with victim.raw(victim.server.grpc_port) as connection, suppress(OSError):
            connection.settimeout(1.0)
            connection.sendall(preface)
            for first in range(1, 2**31 - 400, 400):
                if time.monotonic() > end:
                    break
                frames = [
                    _frame(1, 4, stream, block) + _frame(3, 0, stream, b"\0\0\0\x08")
                    for stream in range(first, first + 400, 2)
                ]
                connection.sendall(b"".join(frames))
                sent += 200
    return f"{sent} streams"


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def examples(count: int, context_bytes: int = 0) -> Callable[[], bytes]:
    """Return a function that makes a ClassificationRequest with many examples, beside a context for all of them."""

    def make() -> bytes:
        # Examples are appended as bytes: field 1 of ExampleList and of ExampleListWithContext, each example 16 bytes long.
        one = base64.b64decode("ChMKEQoBeBIMEgoKCAAAgD8AAABA")
        rows = (b"\x0a" + bytes([len(one)]) + one) * count
        request = serving_message("ClassificationRequest")(model_spec={"name": "clsreg"})
        if context_bytes:
            request.input.example_list_with_context.ParseFromString(rows)
            feature = request.input.example_list_with_context.context.features.feature["big"]
            feature.bytes_list.value.append(bytes(context_bytes))
        else:
            request.input.example_list.ParseFromString(rows)
        data: bytes = request.SerializeToString()
        return data

    return make


def foreign_reload(victim: Victim) -> str:
    """Ask the server to load a model from outside the folders of its models."""
    foreign = victim.folder.parent / f"{victim.folder.name}-foreign"
    shutil.copytree(victim.folder / "m", foreign)
    request = serving_message("ReloadConfigRequest")()
    models = request.config.model_config_list
    for name in ("m", *RECORDED):
        models.config.add(name=name, base_path=str(victim.folder / name), model_platform="tensorflow")
    models.config.add(name="foreign", base_path=str(foreign), model_platform="tensorflow")
    try:
        code, details = victim.call(request.SerializeToString(), f"/{MODEL_SERVICE}/HandleReloadConfigRequest")
        served, _ = victim.call(predict_message(model="foreign", x=tensor([1, 4], float_val=[1])).SerializeToString())
    finally:
        shutil.rmtree(foreign)
    assert code != "OK" and served != "OK", f"{code} {details}: the model is loaded"
    return code


CLASSIFY = f"/{PREDICTION_SERVICE}/Classify"
ATTACKS = (
    Attack("shape [3e8] with one value", called(filled(1), ok=False), ELEMENTS),
    Attack("20 inputs of shape [3e8]", called(filled(20), ok=False), ELEMENTS),
    Attack("shape [3e8] of complex128", called(filled(1, 18, dcomplex_val=[1.0, 0.0]), ok=False), ELEMENTS),
    Attack("shape [3e8] of strings", called(filled(1, 7, string_val=[b"x"]), ok=False), ELEMENTS),
    Attack("shape [3e8], 8 at once", called(filled(1), ok=False, times=8), ELEMENTS),
    Attack("gzip: 200 MB of zeros", called(zeros(200), gzip=True), BYTES),
    Attack("200 MB, 8 at once", called(zeros(200), times=8), BYTES),
    Attack("64 MB, 8 at once", called(zeros(64), times=8), BYTES),
    Attack("32 MB, 8 at once", called(zeros(32), times=8), DECODED),
    Attack(
        "1,000 malformed messages per second", malformed_messages, "none needed", log_bytes_per_second=DAY_BYTES_PER_SECOND
    ),
    Attack("1,000 connections to a server with 256 files", connections, "none needed", files=256),
    Attack("streams that are reset at once", stream_resets, "none needed"),
    Attack("products with an inner dimension of 0", empty_products, "none needed"),
    Attack("shapes that lie about their data", lying_tensors, ELEMENTS),
    Attack("Classify with a million examples", called(examples(10**6), CLASSIFY), ELEMENTS),
    Attack("Classify: a context of 1 MB for 10,000 examples", called(examples(10**4, MIB), CLASSIFY), DECODED),
    Attack("reload of a model from a foreign folder", foreign_reload, "--reload_base_path"),
)

