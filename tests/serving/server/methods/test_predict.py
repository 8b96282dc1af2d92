"""Predict: strings byte for byte, and inputs with defaults."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from serving import Client, Server
from serving.protocol.messages import PREDICTION_SERVICE, serving_message
from serving.protocol.tfrecord import read_records

TEXTS = np.array([b"ab", b"c"], np.object_)


@pytest.fixture(scope="module")
def strings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Base path of a model. `serving_default` returns its strings, of any shape. `joined` joins `a`, `b` and `c`, of which
    `b` and `c` have defaults. `spoilt` is the same with an invalid default of `c`."""
    base = tmp_path_factory.mktemp("models") / "strings"
    module = tf.Module()
    text = tf.TensorSpec(None, tf.string)
    module.echo = tf.function(lambda x: {"y": tf.identity(x)}, input_signature=[text])
    module.join = tf.function(
        lambda a, b, c: {"y": tf.strings.join([a, b, c])},
        input_signature=[tf.TensorSpec(None, tf.string, name=name) for name in "abc"],
    )
    signatures = {"serving_default": module.echo, "joined": module.join, "spoilt": module.join}
    tf.saved_model.save(module, str(base / "1"), signatures=signatures)
    file = base / "1" / "saved_model.pb"
    saved = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    defined = saved.meta_graphs[0].signature_def
    for name in ("joined", "spoilt"):
        for alias in "bc":
            defined[name].defaults[alias].CopyFrom(tf.make_tensor_proto(alias))
    defined["spoilt"].defaults["c"].dtype = 0
    file.write_bytes(saved.SerializeToString())
    return base


@pytest.fixture(scope="module")
def server(strings: Path) -> Iterator[Server]:
    with Server(strings) as running:
        yield running


def predict(server: Server, signature: str = "", **inputs: Any) -> Any:
    request = serving_message("PredictRequest")(model_spec={"name": "strings", "signature_name": signature})
    for name, values in inputs.items():
        request.inputs[name].dtype = 7
        request.inputs[name].string_val.extend(values)
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        return channel.unary_unary(
            f"/{PREDICTION_SERVICE}/Predict",
            request_serializer=type(request).SerializeToString,
            response_deserializer=serving_message("PredictResponse").FromString,
        )(request, timeout=20)


def test_scalar_string_keeps_trailing_zero_bytes(server: Server) -> None:
    assert predict(server, x=[b"a\0\0"]).outputs["y"].string_val == [b"a\0\0"]
    assert predict(server, x=[b"\0"]).outputs["y"].string_val == [b"\0"]


def test_option_writes_strings_as_tensor_content(strings: Path, tmp_path: Path) -> None:
    """As AsProtoTensorContent in tensorflow/core/framework/tensor.cc. The log of REST requests has string_val nevertheless."""
    with Server(strings, answer_as_tensor_content=True, log_requests=str(tmp_path)) as server:
        with Client(f"127.0.0.1:{server.grpc_port}") as client:
            np.testing.assert_array_equal(client.predict("strings", x=TEXTS)["y"], TEXTS)
        with Client(f"http://127.0.0.1:{server.rest_port}") as client:
            np.testing.assert_array_equal(client.predict("strings", x=TEXTS)["y"], TEXTS)
        tensor = predict(server, x=[b""]).outputs["y"]
        assert (tensor.tensor_content, len(tensor.string_val)) == (b"\0", 0)
    (file,) = tmp_path.iterdir()
    records = [serving_message("PredictionLog").FromString(record) for record in read_records(file)]
    by_grpc, by_rest = (record.predict_log.response.outputs["y"] for record in records[:2])
    assert (by_grpc.tensor_content, list(by_grpc.string_val)) == (b"\x02\x01abc", [])
    assert (by_rest.tensor_content, list(by_rest.string_val)) == (b"", [b"ab", b"c"])


def test_strings_are_string_val_by_default(server: Server) -> None:
    tensor = predict(server, x=[b"ab"]).outputs["y"]
    assert (tensor.tensor_content, list(tensor.string_val)) == (b"", [b"ab"])


def test_input_with_a_default_may_be_omitted(server: Server) -> None:
    assert predict(server, "joined", a=[b"1"]).outputs["y"].string_val == [b"1bc"]
    assert predict(server, "joined", a=[b"1"], b=[b"2"]).outputs["y"].string_val == [b"12c"]


@pytest.mark.parametrize(
    ("signature", "given", "message"),
    [
        ("joined", "az", "Inputs contains invalid name. Used request inputs: a, request input: a,z"),
        ("joined", "abz", "Inputs contains invalid name. Used request inputs: a,b, request input: a,b,z"),
        ("spoilt", "a", "tensor parsing error: c"),
        ("joined", "abcz",
         "input size does not match signature: 4!=3 len({a,b,c,z}) != len({a,b,c}). Sent extra: {z}. "
         "Missing but required: {}."),
    ],
)  # fmt: skip
def test_inputs_with_defaults_are_checked(server: Server, signature: str, given: str, message: str) -> None:
    """As GetInputValues in tensorflow/cc/saved_model/util.cc."""
    with pytest.raises(grpc.RpcError) as caught:
        predict(server, signature, **{name: [b"1"] for name in given})
    assert (caught.value.code().name, caught.value.details()) == ("INVALID_ARGUMENT", message)
