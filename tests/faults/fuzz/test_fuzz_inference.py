"""The Open Inference Protocol, REST and gRPC: each request is answered or refused, whatever its lengths and shapes claim."""

from __future__ import annotations

import http.client
import json
import random
import struct
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import DecodeError

from serving.protocol.open_inference.messages import inference_message
from serving.protocol.open_inference.tensors import DATATYPES
from serving.protocol.status import StatusError
from serving.server.grpc_api.open_inference import methods
from serving.server.grpc_api.request_size import decoded_bytes
from serving.server.models.core import ServerCore
from serving.server.observability.metrics import Metrics
from serving.server.rest_api.api import RestApi
from serving.server.rest_api.exchange import RestRequest
from serving.server.rest_api.open_inference import HEADER_LENGTH
from tests.faults.fuzz.fuzzing import (
    HOSTILE_NUMBERS,
    HOSTILE_TEXTS,
    Fuzzer,
    assert_harmless,
    bounded_memory,
    budgets,
    damaged,
    mutated_json,
)
from tests.faults.fuzz.servers import assert_right
from tests.faults.fuzz.test_fuzz_grpc import change
from tests.faults.victim import victim
from tests.serving.server.echo import OPTIONS, echo_core

STATUSES = (200, 400, 404, 405, 413, 415, 429, 501, 503)
STRINGS = struct.pack("<I3sI", 3, b"abc", 0)
SEEDS: list[tuple[dict[str, Any], bytes]] = [
    ({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1.5, -2]}]}, b""),
    ({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [[1.5, -2]]}], "outputs": [{"name": "y"}]}, b""),
    ({"inputs": [{"name": "x", "datatype": "BYTES", "shape": [2], "parameters": {"binary_data_size": 11}}],
      "parameters": {"signature_name": "bytes", "binary_data_output": True}}, STRINGS),
    ({"id": "7", "inputs": [{"name": "x", "datatype": "INT16", "shape": [2, 1], "parameters": {"binary_data_size": 4}}],
      "parameters": {"signature_name": "int16"}, "outputs": [{"name": "y", "parameters": {"binary_data": True}}]}, b"1234"),
    ({"inputs": [{"name": "x", "datatype": "BF16", "shape": [1], "parameters": {"binary_data_size": 2}}],
      "parameters": {"signature_name": "bf16"}, "outputs": [{"name": "y", "parameters": {"binary_data": True}}]}, b"12"),
]  # fmt: skip
SIZES = [value for value in HOSTILE_NUMBERS if isinstance(value, int) and -(2**63) <= value < 2**63]
TEXTS = (*HOSTILE_TEXTS, *DATATYPES, "x", "y", "serving_default", "binary_data_size", "binary_data", "classification")


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerCore]:
    with echo_core(tmp_path_factory.mktemp("echo")) as running:
        yield running


def mutant(rng: random.Random) -> bytes:
    """Return a line with the claimed length of the JSON, and a body."""
    document, binary = rng.choice(SEEDS)
    if rng.random() < 0.7:
        document = mutated_json(document, rng, TEXTS)
    text = json.dumps(document, ensure_ascii=False).encode("utf-8", "surrogatepass")
    if rng.random() < 0.3:
        text = damaged(text, rng)
    if rng.random() < 0.3:
        binary = damaged(binary, rng)
    length = len(text) if rng.random() < 0.8 else rng.choice((-1, 0, 1, len(text) - 1, len(text) + 1, 10**19, rng.randrange(999)))
    return f"{length}\n".encode() + text + binary


def headers_of(length: bytes) -> dict[str, str]:
    return {HEADER_LENGTH.lower(): length.decode("latin-1")}


@budgets()
def test_rest_answers_every_request(seconds: float, core: ServerCore) -> None:
    api = RestApi(core, Metrics())

    def check(data: bytes) -> None:
        length, _, body = data.partition(b"\n")
        for headers in (headers_of(length), {}):
            reply = api.answer(RestRequest("POST", "/v2/models/echo/infer", headers, body))
            assert reply.status in STATUSES, reply
            assert len(reply.body) < 2**16 + 50 * len(body)
            if reply.status != 200:
                assert_harmless(json.loads(reply.body.decode("utf-8", "replace"))["error"])

    with bounded_memory():
        Fuzzer(seconds, check).run(mutant)


def message_mutant(rng: random.Random) -> bytes:
    made = inference_message("ModelInferRequest")(model_name="echo")
    document, binary = rng.choice(SEEDS)
    for item in document["inputs"]:
        made.inputs.add(name=item["name"], datatype=item["datatype"], shape=item["shape"])
    made.parameters["signature_name"].string_param = document.get("parameters", {}).get("signature_name", "")
    if binary:
        made.raw_input_contents.append(binary)
    else:
        made.inputs[0].contents.fp32_contents.extend((1.5, -2))
    for _ in range(rng.choice((0, 1, 1, 2, 4))):
        change(made, rng)
    if made.inputs and rng.random() < 0.3:
        made.inputs[0].shape.extend(rng.choices(SIZES, k=rng.randrange(9)))
    data: bytes = made.SerializeToString()
    return damaged(data, rng) if rng.random() < 0.2 else data


@budgets()
def test_grpc_answers_every_request(seconds: float, core: ServerCore) -> None:
    answer = methods(None)["ModelInfer"]

    def check(data: bytes) -> None:
        try:
            request = inference_message("ModelInferRequest").FromString(data)
        except DecodeError:
            return
        try:
            size = decoded_bytes(request, OPTIONS)
            assert size <= 80 * len(data)
            assert len(answer(core, request).SerializeToString()) < 2**16 + 50 * len(data)
        except StatusError as exc:
            assert_harmless(exc.grpc_message)

    with bounded_memory():
        Fuzzer(seconds, check).run(message_mutant)


@pytest.mark.slow
def test_server_answers_every_request(models: Path) -> None:
    """The same with TensorFlow behind it, over a connection."""
    with victim("--open_inference_protocol", models=models) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.server.rest_port, timeout=60)

        def check(data: bytes) -> None:
            length, _, body = data.partition(b"\n")
            connection.request("POST", "/v2/models/m/infer", body, headers_of(length))
            response = connection.getresponse()
            assert response.status in STATUSES
            assert_harmless(response.read().decode("utf-8", "replace"))

        with closing(connection), bounded_memory(server.server.pid):
            Fuzzer(20, check).run(mutant)
            assert_right(server)
