"""Bytes that are not UTF-8, at every place of a request: errors quote them, and nothing fails because of them."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
import tensorflow as tf

from serving.protocol.messages import PREDICTION_SERVICE, serving_message
from serving.protocol.tensors import to_proto
from serving.server import Server
from tests.serving.server.recordings import MODELS

ROW = b'"instances": [[1, 2, 3, 4]]'


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(MODELS / "rows", log_format="json") as server:
        yield server


def send(server: Server, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    assert server.rest_port is not None
    connection = http.client.HTTPConnection("127.0.0.1", server.rest_port, timeout=20)
    try:
        connection.request(method, f"/v1/models/{path}", body)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "quoted"),
    [
        ("POST", "a%FF:predict", b"{" + ROW + b"}", 404, b"Latest(a\xff)"),
        ("POST", "a%FF/versions/3:predict", b"{" + ROW + b"}", 404, b"Specific(a\xff, 3)"),
        ("POST", "%ED%A0%80:classify", b'{"examples": [{"x": 1.0}]}', 404, b"Latest(\xed\xa0\x80)"),
        ("POST", "rows/labels/%C3:predict", b"{" + ROW + b"}", 400, b"version label: \xc3"),
        ("POST", "rows/labels/%C3:regress", b'{"examples": [{"x": 1.0}]}', 400, b"version label: \xc3"),
        ("GET", "a%FF", None, 404, b"any versions of model a\xff"),
        ("GET", "a%FF/versions/1", None, 404, b"version 1 of model a\xff"),
        ("GET", "a%FF/metadata", None, 404, b"Latest(a\xff)"),
        ("GET", "rows/labels/%FF/metadata", None, 400, b"version label: \xff"),
        ("POST", "rows:predict", b'{"signature_name": "s\xff", ' + ROW + b"}", 400, b's\xff\\" not found in signature def'),
        ("POST", "rows:classify", b'{"signature_name": "s\xff", "examples": [{"x": 1.0}]}', 400, b"the name: s\xff"),
        ("POST", "rows:predict", b'{"instances": [{"x\xff": [1]}]}', 400, b"named input: x\xff"),
        ("POST", "rows:predict", b'{"inputs": {"x\xff": [1]}}', 400, b"Missing named input: x"),
        ("POST", "rows:predict", b'{"instances": ["\xff"]}', 400, b'JSON Value: \\"\xff\\"'),
        ("POST", "rows:classify", b'{"examples": [{"x\xff": ["\xfe"]}]}', 400, b"No classification inputs found"),
        ("POST", "rows:predict", b"\xff\xfe{}", 400, b"JSON Parse error"),
    ],
)
def test_rest_error_quotes_the_bytes(
    server: Server, method: str, path: str, body: bytes | None, status: int, quoted: bytes
) -> None:
    got, text = send(server, method, path, body)
    assert (got, quoted in text) == (status, True), text
    assert send(server, "POST", "rows:predict", b'{"signature_name": "single", ' + ROW + b"}")[0] == 200


class Numbers(tf.Module):
    """`serving_default(text=string[?]) -> y=float32[?]`: parse numbers; the error quotes a text that is none."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def parse(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": tf.strings.to_number(text)}


def test_error_of_an_operator_is_raw_over_rest_and_utf8_over_grpc(tmp_path: Path) -> None:
    module = Numbers()
    tf.saved_model.save(module, str(tmp_path / "m" / "1"), signatures={"serving_default": module.parse})
    request = serving_message("PredictRequest")(model_spec={"name": "m"})
    request.inputs["text"].CopyFrom(to_proto(np.array([b"a\xff"], np.object_)))
    with Server(tmp_path / "m") as server:
        status, body = send(server, "POST", "m:predict", b'{"instances": [{"b64": "Yf8="}]}')
        assert (status, b"convert string: a\xff" in body) == (400, True), body
        with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel, pytest.raises(grpc.RpcError) as refused:
            channel.unary_unary(f"/{PREDICTION_SERVICE}/Predict")(request.SerializeToString(), timeout=20)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "convert string: a\ufffd" in refused.value.details()
