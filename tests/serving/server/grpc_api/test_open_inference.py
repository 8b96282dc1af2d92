"""The Open Inference Protocol over gRPC. Other projects' clients call it in tests/serving/client/test_strangers.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from serving.protocol.open_inference.messages import INFERENCE_SERVICE, METHODS, inference_message, inference_service
from serving.protocol.open_inference.tensors import Tensor, to_binary
from serving.protocol.status import StatusError
from serving.protocol.tensors import Array, bfloat16_from_float32
from serving.server.grpc_api.open_inference import inference_size
from serving.server.grpc_api.request_size import decoded_bytes
from serving.server.grpc_api.service import GrpcServer
from serving.server.models.core import ServerCore
from serving.server.observability.metrics import Metrics
from tests.serving.server.echo import OPTIONS, echo_core

SECONDS = 20
Send = Callable[..., Any]
TYPED: dict[str, tuple[str, list[Any]]] = {
    "BOOL": ("bool_contents", [True, False]), "INT8": ("int_contents", [-128, 127]), "INT16": ("int_contents", [-(2**15), 1]),
    "INT32": ("int_contents", [-(2**31), 1]), "INT64": ("int64_contents", [-(2**63), 1]), "UINT8": ("uint_contents", [0, 255]),
    "UINT16": ("uint_contents", [0, 2**16 - 1]), "UINT32": ("uint_contents", [0, 2**32 - 1]),
    "UINT64": ("uint64_contents", [0, 2**64 - 1]), "FP32": ("fp32_contents", [1.5, -2]), "FP64": ("fp64_contents", [1e300, -2]),
    "BYTES": ("bytes_contents", [b"", b"\xff"]),
}  # fmt: skip
RAW: dict[str, Array] = {
    "FP16": np.array([0.5, 65504], np.float16), "BF16": bfloat16_from_float32(np.array([1.5, -2], np.float32)),
    "BYTES": np.array([b"", b"\xff\0"], np.object_), "BOOL": np.array([True, False]), "INT64": np.array([1, -2]),
}  # fmt: skip


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerCore]:
    options = replace(OPTIONS, grpc_port=0, health=True)
    with echo_core(tmp_path_factory.mktemp("echo"), options) as running:
        yield running


@pytest.fixture(scope="module")
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture(scope="module")
def channel(core: ServerCore, metrics: Metrics) -> Iterator[grpc.Channel]:
    server = GrpcServer(core, metrics)
    server.start()
    try:
        with grpc.insecure_channel(f"127.0.0.1:{server.port}") as opened:
            yield opened
    finally:
        server.stop(SECONDS)


@pytest.fixture
def send(channel: grpc.Channel) -> Send:
    def call(method: str, request: Any = None) -> Any:
        asked = request or inference_message(f"{method}Request")()
        return channel.unary_unary(
            f"/{INFERENCE_SERVICE}/{method}", type(asked).SerializeToString, inference_message(f"{method}Response").FromString
        )(asked, timeout=SECONDS)

    return call


def request(datatype: str = "FP32", shape: tuple[int, ...] = (2,), signature: str = "", **options: Any) -> Any:
    made = inference_message("ModelInferRequest")(model_name="echo", **options)
    made.inputs.add(name="x", datatype=datatype, shape=shape)
    made.parameters["signature_name"].string_param = signature or datatype.lower()
    return made


def typed(datatype: str, field: str, values: list[Any], **options: Any) -> Any:
    made = request(datatype, (len(values),), **options)
    getattr(made.inputs[0].contents, field).extend(values)
    return made


def refusal(send: Send, message: Any, code: grpc.StatusCode = grpc.StatusCode.INVALID_ARGUMENT) -> str:
    with pytest.raises(grpc.RpcError) as refused:
        send("ModelInfer", message)
    assert refused.value.code() is code  # type: ignore[attr-defined]
    return str(refused.value.details())  # type: ignore[attr-defined]


def test_the_server_and_its_models_are_described(send: Send) -> None:
    assert send("ServerLive").live and send("ServerReady").ready
    described = send("ServerMetadata")
    assert (described.name, list(described.extensions)) == ("tfbundle", ["binary_tensor_data"])
    named = inference_message("ModelMetadataRequest")(name="echo")
    metadata = send("ModelMetadata", named)
    assert (metadata.name, list(metadata.versions), metadata.platform) == ("echo", ["2", "3"], "tensorflow_savedmodel")
    (tensor,) = metadata.inputs
    assert (tensor.name, tensor.datatype, list(tensor.shape)) == ("x", "FP32", [-1, 2])
    assert [output.name for output in metadata.outputs] == ["y"]
    ready = inference_message("ModelReadyRequest")
    assert send("ModelReady", ready(name="echo", version="stable")).ready
    assert not send("ModelReady", ready(name="echo", version="1")).ready
    with pytest.raises(grpc.RpcError, match="There is no model gone"):
        send("ModelReady", ready(name="gone"))
    assert [(row.version, row.state) for row in send("RepositoryIndex").models] == [
        ("1", "UNAVAILABLE"), ("2", "READY"), ("3", "READY"),
    ]  # fmt: skip


@pytest.mark.parametrize("datatype", TYPED)
def test_typed_contents_are_answered_with_typed_contents(send: Send, datatype: str) -> None:
    field, values = TYPED[datatype]
    response = send("ModelInfer", typed(datatype, field, values, id="7", model_version="stable"))
    assert (response.model_name, response.model_version, response.id) == ("echo", "2", "7")
    (output,) = response.outputs
    assert (output.name, output.datatype, list(output.shape)) == ("y", datatype, [2])
    assert list(getattr(output.contents, field)) == values
    assert not response.raw_output_contents


@pytest.mark.parametrize("datatype", RAW)
def test_raw_contents_are_answered_with_raw_contents(send: Send, datatype: str) -> None:
    data = bytes(to_binary(Tensor.of("x", RAW[datatype])))
    response = send("ModelInfer", request(datatype, raw_input_contents=[data]))
    (output,) = response.outputs
    assert (output.datatype, list(output.shape), output.HasField("contents")) == (datatype, [2], False)
    assert list(response.raw_output_contents) == [data]


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (request("FP31", signature="fp32"), "The datatype of input x must be one of"),
        (request(shape=(-1,)), "none of them negative"),
        (request(shape=(1,) * 65), "Input x has 65 dimensions"),
        (request(), "Input x has 0 elements; its shape [2] has 2."),
        (request("FP16"), "Input x of type FP16 must be sent in raw_input_contents."),
        (typed("FP32", "fp64_contents", [1]), "must have its values in fp32_contents, not in fp64_contents"),
        (typed("INT8", "int_contents", [128]), "a number that INT8 cannot hold"),
        (typed("UINT16", "uint_contents", [2**16]), "a number that UINT16 cannot hold"),
        (typed("FP32", "fp32_contents", [1, 2], raw_input_contents=[b"12345678"]), "both contents and raw_input_contents"),
        (request(raw_input_contents=[b"1234567"]), "Input x has 7 bytes of data; FP32 of shape [2] takes 8."),
        (request(raw_input_contents=[b"1", b"2"]), "The request has 1 inputs and 2 raw_input_contents"),
        (request(signature="gone", raw_input_contents=[bytes(8)]), "The model has no signature gone"),
        (request(shape=(2**62, 2**62), raw_input_contents=[bytes(8)]), "Input x has 8 bytes of data"),
    ],
)
def test_request_that_is_not_as_it_says_is_refused(send: Send, message: Any, text: str) -> None:
    assert text in refusal(send, message)


def test_what_this_server_does_not_do_is_refused(send: Send) -> None:
    twice = request(raw_input_contents=[bytes(8)] * 2)
    twice.inputs.add(name="x")
    assert "The input x is given twice." in refusal(send, twice)
    shared = request()
    shared.inputs[0].parameters["shared_memory_region"].string_param = "r"
    assert "shared memory" in refusal(send, shared)
    classes = request(raw_input_contents=[bytes(8)])
    classes.outputs.add(name="y").parameters["classification"].int64_param = 2
    assert "classification extension" in refusal(send, classes)
    number = request()
    number.parameters["signature_name"].int64_param = 1
    assert "signature_name must be a string" in refusal(send, number)
    gone = request(raw_input_contents=[bytes(8)])
    gone.model_name = "gone"
    assert "Latest(gone)" in refusal(send, gone, grpc.StatusCode.NOT_FOUND)
    gone.model_name, gone.model_version = "echo", "canary"
    assert "no version or label canary" in refusal(send, gone, grpc.StatusCode.NOT_FOUND)


def test_request_over_a_limit_is_refused_before_it_is_decoded(send: Send) -> None:
    assert "10,001 elements" in refusal(send, request("BOOL", (10_001,), raw_input_contents=[bytes(10_001)]))
    many = request(raw_input_contents=[b""] * 4097)
    for _ in range(4096):
        many.inputs.add()
    assert "The request has 4097 inputs; the limit is 4096." in refusal(send, many)
    strings = request("BYTES", (5000,), raw_input_contents=[bytes(20_000)])
    with pytest.raises(StatusError, match="300,000 bytes when it is decoded"):
        decoded_bytes(strings, replace(OPTIONS, max_decoded_bytes=200_000))


@pytest.mark.parametrize(
    ("message", "size"),
    [
        (request("FP64", (3,), raw_input_contents=[bytes(24)]), (3, 48)),
        (request("FP64", (2**62,) * 64, raw_input_contents=[bytes(24)]), (3, 48)),
        (request("FP64", (3,) * 65, raw_input_contents=[bytes(24)]), (0, 0)),
        (request("FP64", (-3,), raw_input_contents=[bytes(24)]), (0, 24)),
        (request("nothing", (3,), raw_input_contents=[bytes(24)]), (0, 0)),
    ],
)
def test_size_is_that_of_the_bytes_whatever_the_shape_claims(message: Any, size: tuple[int, int]) -> None:
    assert inference_size(message) == size


def test_inference_counts_as_predict(send: Send, metrics: Metrics) -> None:
    before = metrics.total("/tensorflow/serving/request_count")
    send("ModelInfer", request(raw_input_contents=[bytes(8)]))
    send("ServerReady")
    assert metrics.total("/tensorflow/serving/request_count") == before + 1
    assert 'request_latency_count{model_name="echo",API="Predict",entrypoint="GRPC"}' in metrics.text()


def test_reflection_shows_the_service(channel: grpc.Channel) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    ask = reflection_pb2.ServerReflectionRequest
    listed, described = stub.ServerReflectionInfo(iter([ask(list_services=""), ask(file_containing_symbol=INFERENCE_SERVICE)]))
    assert INFERENCE_SERVICE in [service.name for service in listed.list_services_response.service]
    assert described.file_descriptor_response.file_descriptor_proto
    assert tuple(method.name for method in inference_service().methods) == METHODS
