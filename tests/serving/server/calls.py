"""Calls to an embedded server, and the states of its model `m`."""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import grpc

from serving.protocol.messages import PREDICTION_SERVICE, serving_message
from serving.server import Server
from serving.server.models.states import ManagerState, wait_until

SECONDS = 20.0
SINGLE = {"signature_name": "single", "instances": [[1, 2, 3, 4]]}

Publish = Callable[[str, Path], Path]


def post(server: Server, path: str, body: dict[str, Any] | bytes, **headers: str) -> Any:
    """POST a body (a dictionary is sent as JSON) to a path below /v1/models/ and return the parsed reply."""
    return post_with_headers(server, path, body, **headers)[0]


def post_with_headers(
    server: Server, path: str, body: dict[str, Any] | bytes, **headers: str
) -> tuple[Any, dict[str, str]]:
    """Like `post`, with the reply's headers, names in lower case."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{server.rest_port}/v1/models/{path}", data, headers)
    with urllib.request.urlopen(request, timeout=SECONDS) as response:
        return json.load(response), {name.lower(): value for name, value in response.headers.items()}


def call(server: Server, service: str, method: str, request: Any, response: str) -> Any:
    """Call a gRPC method; `response` is the name of the response's message."""
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        return channel.unary_unary(
            f"/{service}/{method}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=serving_message(response).FromString,
        )(request, timeout=SECONDS)


def predict_single(server: Server, **spec: Any) -> list[float]:
    request = serving_message("PredictRequest")(model_spec={"name": "m", "signature_name": "single", **spec})
    request.inputs["x"].dtype = 1
    request.inputs["x"].tensor_shape.dim.add(size=1)
    request.inputs["x"].tensor_shape.dim.add(size=4)
    request.inputs["x"].float_val.extend([1, 2, 3, 4])
    return list(call(server, PREDICTION_SERVICE, "Predict", request, "PredictResponse").outputs["y"].float_val)


def state(server: Server, version: int) -> ManagerState | None:
    reached = server.core.board.get("m", version)
    return reached and reached.state


def serves(server: Server, version: int) -> bool:
    """Wait until a version is available."""
    return wait_until(lambda: state(server, version) is ManagerState.AVAILABLE, seconds=SECONDS)


@contextmanager
def load(request: Callable[[], Any], threads: int) -> Iterator[list[Any]]:
    """Send requests from several threads while the block runs. Yields the growing list of answers and errors."""
    answers: list[Any] = []
    ended = threading.Event()

    def run() -> None:
        while not ended.is_set():
            try:
                answers.append(request())
            except (OSError, grpc.RpcError) as exc:
                answers.append(exc)

    workers = [threading.Thread(target=run) for _ in range(threads)]
    for worker in workers:
        worker.start()
    try:
        yield answers
    finally:
        ended.set()
        for worker in workers:
            worker.join()


def turns_for(seconds: float) -> int:
    """Return how many turns of the slow model take about this long on this machine."""
    return int(_turns_per_second() * seconds)


@cache
def _turns_per_second() -> float:
    import tensorflow as tf

    matrix = tf.eye(200)
    start = time.monotonic()
    for _ in range(200):
        matrix = tf.tanh(tf.matmul(matrix, matrix))
    return 200 / (time.monotonic() - start)
