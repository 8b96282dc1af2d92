"""The Open Inference Protocol over REST. Other projects' clients call it in tests/serving/client/test_strangers.py."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.protocol.messages import serving_message
from serving.protocol.open_inference.tensors import Tensor, from_binary, to_binary
from serving.protocol.tensors import Array, bfloat16_from_float32
from serving.server.models.core import ServerCore
from serving.server.observability.metrics import Metrics
from serving.server.rest_api.api import RestApi
from serving.server.rest_api.codec_process import CodecProcesses
from serving.server.rest_api.exchange import SMALL_BODY, Reply, RestRequest
from serving.server.rest_api.open_inference import HEADER_LENGTH
from tests.serving.server.echo import OPTIONS, echo_core

X = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1.5, -2]}
Y = {"name": "y", "datatype": "FP32", "shape": [1, 2], "data": [1.5, -2.0]}
ARRAYS: dict[str, Array] = {
    "BOOL": np.array([True, False]), "UINT8": np.array([0, 255], np.uint8), "UINT16": np.array([0, 2**16 - 1], np.uint16),
    "UINT32": np.array([0, 2**32 - 1], np.uint32), "UINT64": np.array([0, 2**64 - 1], np.uint64),
    "INT8": np.array([-128, 127], np.int8), "INT16": np.array([-(2**15), 1], np.int16),
    "INT32": np.array([-(2**31), 1], np.int32), "INT64": np.array([-(2**63), 2**63 - 1]),
    "FP16": np.array([0.5, 65504], np.float16), "FP32": np.array([1e-40, np.inf], np.float32), "FP64": np.array([1e300, -0.0]),
    "BF16": bfloat16_from_float32(np.array([1.5, -2], np.float32)), "BYTES": np.array([b"", b"\xff\0"], np.object_),
}  # fmt: skip


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerCore]:
    with echo_core(tmp_path_factory.mktemp("echo")) as running:
        yield running


@pytest.fixture
def api(core: ServerCore) -> RestApi:
    return RestApi(core, Metrics())


@pytest.fixture(scope="module")
def processes(core: ServerCore) -> Iterator[RestApi]:
    """An API that reads and writes large JSON in processes of their own."""
    codecs = CodecProcesses(core.options)
    yield RestApi(core, Metrics(), codecs=codecs)
    codecs.stop()


def get(api: RestApi, path: str, method: str = "GET") -> tuple[int, Any]:
    reply = api.answer(RestRequest(method, path))
    return reply.status, json.loads(reply.body)


def post(api: RestApi, path: str, body: bytes, **headers: str) -> Reply:
    return api.answer(RestRequest("POST", path, {name.replace("_", "-"): value for name, value in headers.items()}, body))


def infer(api: RestApi, document: dict[str, Any], binary: bytes = b"", path: str = "/v2/models/echo/infer") -> Reply:
    text = json.dumps(document).encode()
    length = {HEADER_LENGTH.lower().replace("-", "_"): str(len(text))} if binary else {}
    return post(api, path, text + binary, **length)


def error(reply: Reply) -> tuple[int, str]:
    return reply.status, json.loads(reply.body)["error"]


def refusal(api: RestApi, document: dict[str, Any], binary: bytes = b"") -> str:
    status, text = error(infer(api, document, binary))
    assert status == 400
    return text


def test_the_server_and_its_models_are_described(api: RestApi) -> None:
    status, server = get(api, "/v2")
    assert (status, server["name"], server["extensions"]) == (200, "tfbundle", ["binary_tensor_data"])
    assert get(api, "/v2/health/live") == (200, {"live": True})
    assert get(api, "/v2/health/ready") == (200, {"ready": True})
    tensor = {"datatype": "FP32", "shape": [-1, 2]}
    assert get(api, "/v2/models/echo") == (200, {
        "name": "echo", "versions": ["2", "3"], "platform": "tensorflow_savedmodel",
        "inputs": [{"name": "x", **tensor}], "outputs": [{"name": "y", **tensor}],
    })  # fmt: skip
    assert get(api, "/v2/models/echo/versions/stable")[1]["versions"] == ["2"]
    of_text = get(api, "/v2/models/echo?signature_name=bytes")[1]
    assert of_text["inputs"] == [{"name": "x", "datatype": "BYTES", "shape": [-1]}]


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("/v2/models/gone", 404, "Servable not found for request: Latest(gone)"),
        ("/v2/models/%ff", 404, "Servable not found for request: Latest(\udcff)"),
        ("/v2/models/echo/versions/9", 404, "Servable not found for request: Specific(echo, 9)"),
        ("/v2/models/echo/versions/1", 404, "Servable not found for request: Specific(echo, 1)"),
        ("/v2/models/echo/versions/canary", 404, "Model echo has no version or label canary."),
        ("/v2/models/echo/versions/9/ready", 404, "There is no model echo with version 9."),
        ("/v2/models/gone/ready", 404, "There is no model gone."),
        ("/v2/models/echo?signature_name=complex", 501, "has no datatype for tensor x of type complex64"),
        ("/v2/models/echo?signature_name=gone", 400, "no signature gone; the parameter signature_name may be: bf16, bool"),
        ("/v2/models", 404, "has no path /v2/models"),
        ("/v2/models/echo/config", 404, "has no path"),
        ("/v2/models/echo/infer", 405, "takes POST, not GET"),
    ],
)
def test_error_has_the_protocols_form_and_its_status(api: RestApi, path: str, status: int, text: str) -> None:
    reply = api.answer(RestRequest("GET", path))
    assert reply.headers["Content-Type"] == "application/json"
    assert reply.status == status
    assert text in json.loads(reply.body.decode("utf-8", "surrogateescape"))["error"]


def test_readiness_tells_what_serves(api: RestApi, core: ServerCore, monkeypatch: pytest.MonkeyPatch) -> None:
    assert get(api, "/v2/models/echo/ready") == (200, {"name": "echo", "ready": True})
    assert get(api, "/v2/models/echo/versions/stable/ready")[0] == 200
    assert get(api, "/v2/models/echo/versions/1/ready") == (503, {"name": "echo", "ready": False})
    monkeypatch.setattr(core, "models", lambda: {"echo": {}, "late": {}})
    assert get(api, "/v2/health/ready") == (503, {"ready": False})


def test_repository_index_lists_every_version(api: RestApi) -> None:
    def index(body: bytes) -> list[tuple[str, str, str]]:
        return [(row["version"], row["state"], row["reason"]) for row in json.loads(post(api, "/v2/repository/index", body).body)]

    ready = [("2", "READY", ""), ("3", "READY", "")]
    assert index(b"") == [("1", "UNAVAILABLE", "the file is damaged"), *ready]
    assert index(b'{"ready": true}') == ready
    assert error(post(api, "/v2/repository/index", b'{"ready": 1}')) == (400, "'ready' must be true or false.")


def test_json_tensor_is_answered_with_json(api: RestApi) -> None:
    reply = infer(api, {"id": "7", "inputs": [X]})
    expected = {"model_name": "echo", "model_version": "3", "id": "7", "outputs": [Y]}
    assert (reply.status, json.loads(reply.body)) == (200, expected)
    nested = infer(api, {"inputs": [{**X, "data": [[1.5, -2]]}]}, path="/v2/models/echo/versions/stable/infer")
    assert json.loads(nested.body) == {"model_name": "echo", "model_version": "2", "outputs": [Y]}


def assert_same_back(api: RestApi, datatype: str, array: Array, padding: int = 0) -> None:
    data = bytes(to_binary(Tensor.of("x", array)))
    item = {"name": "x", "datatype": datatype, "shape": [len(array)], "parameters": {"binary_data_size": len(data)}}
    parameters = {"signature_name": datatype.lower(), "binary_data_output": True, "unknown": " " * padding}
    reply = infer(api, {"inputs": [item], "parameters": parameters}, data)
    assert reply.status == 200, reply.body
    assert reply.headers["Content-Type"] == "application/octet-stream"
    length = int(reply.headers[HEADER_LENGTH])
    (output,) = json.loads(reply.body[:length])["outputs"]
    assert output == {**item, "name": "y"}
    got = from_binary("y", datatype, tuple(output["shape"]), memoryview(reply.body)[length:]).array
    assert (got.dtype, got.shape) == (array.dtype, array.shape)
    assert np.asarray(got).tolist() == np.asarray(array).tolist()


@pytest.mark.parametrize("datatype", ARRAYS)
def test_binary_tensor_of_each_datatype_returns_unchanged(api: RestApi, datatype: str) -> None:
    assert_same_back(api, datatype, ARRAYS[datatype])


@pytest.mark.parametrize("datatype", ["BYTES", "BF16", "BOOL"])
def test_large_json_is_read_and_written_in_another_process(processes: RestApi, datatype: str) -> None:
    assert_same_back(processes, datatype, np.resize(ARRAYS[datatype], 9000).view(type(ARRAYS[datatype])), padding=SMALL_BODY)


def test_large_numbers_of_small_json_are_not_copied(processes: RestApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CodecProcesses, "lend", None)
    assert_same_back(processes, "INT64", np.arange(9000))
    assert_same_back(processes, "FP32", np.zeros(0, np.float32))


def test_large_answer_is_written_in_another_process(processes: RestApi) -> None:
    values = np.arange(9000, dtype=np.int64)
    item = {"name": "x", "datatype": "INT64", "shape": [9000], "data": values.tolist()}
    strings = {"name": "x", "datatype": "BYTES", "shape": [9000], "data": ["text" * 16] * 9000}
    item["unknown"] = " " * SMALL_BODY
    answer = json.loads(infer(processes, {"id": "7", "inputs": [item], "parameters": {"signature_name": "int64"}}).body)
    assert (answer["id"], answer["outputs"][0]["data"]) == ("7", values.tolist())
    texts = infer(processes, {"inputs": [strings], "parameters": {"signature_name": "bytes"}})
    assert json.loads(texts.body)["outputs"] == [{**strings, "name": "y"}]


@pytest.mark.parametrize("datatype", [name for name in ARRAYS if name not in ("BF16", "BYTES")])
def test_json_tensor_of_each_datatype_returns_unchanged(api: RestApi, datatype: str) -> None:
    item = {"name": "x", "datatype": datatype, "shape": [2], "data": ARRAYS[datatype].tolist()}
    reply = infer(api, {"inputs": [item], "parameters": {"signature_name": datatype.lower()}})
    assert reply.status == 200, reply.body
    (output,) = json.loads(reply.body)["outputs"]
    assert output["datatype"] == datatype
    assert np.array(output["data"], ARRAYS[datatype].dtype).tobytes() == ARRAYS[datatype].tobytes()


def test_output_is_binary_where_the_request_asks_for_it(api: RestApi) -> None:
    asked = {"inputs": [X], "outputs": [{"name": "y", "parameters": {"binary_data": True}}]}
    assert HEADER_LENGTH in infer(api, asked).headers
    asked["outputs"][0]["parameters"]["binary_data"] = False  # type: ignore[index]
    reply = infer(api, {**asked, "parameters": {"binary_data_output": True}})
    assert json.loads(reply.body)["outputs"] == [Y]


def test_gzipped_body_is_read(api: RestApi, processes: RestApi) -> None:
    body = json.dumps({"inputs": [X]}).encode()
    for each, data in ((api, body), (processes, body + b" " * SMALL_BODY)):
        reply = post(each, "/v2/models/echo/infer", gzip.compress(data), content_encoding="gzip")
        assert json.loads(reply.body)["outputs"] == [Y]
        damaged = error(post(each, "/v2/models/echo/infer", data[::-1], content_encoding="gzip"))
        assert damaged == (400, "The body is not gzip, or is damaged or too large when unpacked.")
    assert error(post(api, "/v2/models/echo/infer", body, content_encoding="deflate"))[0] == 415


BAD_INPUTS = [
    ({**X, "datatype": "FP31"}, "The datatype of input x must be one of BOOL, UINT8"),
    ({**X, "datatype": None}, "The datatype of input x must be one of"),
    ({**X, "shape": "12"}, "The shape of input x must be an array of numbers."),
    ({**X, "shape": [-1, 2]}, "none of them negative"),
    ({**X, "shape": [True, 2]}, "The shape of input x must have the size of every dimension"),
    ({**X, "shape": [2**63]}, "none of them negative"),
    ({**X, "shape": [2**62, 2**62]}, "Input x has 2 elements; its shape [4611686018427387904, 4611686018427387904] has"),
    ({**X, "shape": [0, 2**62], "data": []}, "cannot have the shape"),
    ({**X, "shape": [1] * 65}, "Input x has 65 dimensions; the limit is 64."),
    ({**X, "shape": []}, "Input x has 2 elements; its shape [] has 1."),
    ({**X, "data": 1}, "The data of input x must be an array."),
    ({**X, "data": [1, "a" * 100_000]}, "The data of input x must be FP32."),
    ({**X, "data": [1, True]}, "The data of input x must be FP32."),
    ({**X, "data": [[1], [2]]}, "not nested like its shape [1, 2]"),
    ({**X, "data": [[1, 2], 3]}, "not nested like its shape [1, 2]"),
    ({**X, "data": [[1, [2]]]}, "The data of input x must be FP32."),
    ({**X, "datatype": "INT8", "data": [1, 128]}, "a number that INT8 cannot hold"),
    ({**X, "datatype": "INT64", "data": [1, 2**64 - 1]}, "a number that INT64 cannot hold"),
    ({**X, "datatype": "UINT64", "data": [1, -1]}, "a number that UINT64 cannot hold"),
    ({**X, "datatype": "INT8", "data": [1, 1.0]}, "The data of input x must be INT8."),
    ({**X, "datatype": "BOOL", "data": [1, 0]}, "The data of input x must be true or false."),
    ({**X, "datatype": "BYTES", "data": [1, "a"]}, "The data of input x must be strings"),
    ({**X, "datatype": "BF16"}, "JSON has no BF16; send it as a binary tensor."),
    ({"name": "x", "datatype": "FP32", "shape": [1, 2]}, "neither 'data' nor the parameter binary_data_size"),
    ({**X, "parameters": {"binary_data_size": 8}}, "both 'data' and the parameter binary_data_size"),
    ({**X, "parameters": {"shared_memory_region": "r"}}, "shared memory, which this server does not support"),
    ({**X, "parameters": []}, "'parameters' must be an object"),
    ({**X, "parameters": {"a": [1]}}, "'parameters' must be an object of strings, numbers and booleans."),
    ({**X, "name": 1}, "Each input must have a 'name'"),
    ({**X, "name": "z"}, "input"),
]


@pytest.mark.parametrize(("item", "text"), BAD_INPUTS)
def test_input_that_is_not_as_it_says_is_refused(api: RestApi, item: dict[str, Any], text: str) -> None:
    assert text in refusal(api, {"inputs": [item]})


@pytest.mark.parametrize(
    ("document", "text"),
    [
        ({}, "'inputs' must be an array of objects."),
        ({"inputs": [1]}, "'inputs' must be an array of objects."),
        ({"inputs": [X, X]}, "The input x is given twice."),
        ({"inputs": [{}] * 4097}, "The request has 4097 inputs; the limit is 4096."),
        ({"inputs": [X], "id": 7}, "'id' must be a string."),
        ({"inputs": [X], "outputs": {}}, "'outputs' must be an array of objects."),
        ({"inputs": [X], "outputs": [{"name": "z"}]}, "output tensor alias not found in signature: z"),
        ({"inputs": [X], "outputs": [{"name": "y"}, {"name": "y"}]}, "The output y is given twice."),
        ({"inputs": [X], "outputs": [{"name": "y", "parameters": {"binary_data": 1}}]}, "binary_data must be true or false"),
        ({"inputs": [X], "outputs": [{"name": "y", "parameters": {"classification": 2}}]}, "the classification extension is not"),
        ({"inputs": [X], "outputs": [{"name": "y", "parameters": {"shared_memory_region": "r"}}]}, "shared memory"),
        ({"inputs": [X], "parameters": {"binary_data_output": "yes"}}, "binary_data_output must be true or false."),
        ({"inputs": [X], "parameters": {"signature_name": 1}}, "signature_name must be a string."),
        ({"inputs": [X], "parameters": {"signature_name": "gone"}}, "no signature gone; the parameter signature_name may be"),
        ({"inputs": [X], "parameters": {"sequence_id": 1}}, "sequence_id is not supported"),
        ({"inputs": [X], "a": [[[[[[[[[[[1]]]]]]]]]]]}, "more than 10 arrays and objects inside each other"),
        ({"inputs": [{**X, "shape": [10001], "datatype": "BOOL", "data": [True] * 10001}]}, "Tensor x has 10001 elements"),
    ],
)
def test_request_that_cannot_be_answered_is_refused(api: RestApi, document: dict[str, Any], text: str) -> None:
    assert text in refusal(api, document)


def binary_input(size: object, datatype: str = "FP32", shape: tuple[int, ...] = (1, 2)) -> dict[str, Any]:
    return {"inputs": [{"name": "x", "datatype": datatype, "shape": shape, "parameters": {"binary_data_size": size}}]}


@pytest.mark.parametrize(
    ("document", "data", "text"),
    [
        (binary_input(8), b"1234567", "has a binary_data_size of 8, but 7 bytes are left"),
        (binary_input(8), b"123456789", "The body has 1 bytes after its JSON and binary tensors."),
        (binary_input(7), b"1234567", "Input x has 7 bytes of data; FP32 of shape [1, 2] takes 8."),
        (binary_input(-8), b"12345678", "binary_data_size of input x must be a number of bytes"),
        (binary_input(True), b"1", "binary_data_size of input x must be a number of bytes"),
        (binary_input(8.0), b"12345678", "binary_data_size of input x must be a number of bytes"),
        (binary_input(10**30), b"12345678", "binary_data_size"),
        (binary_input(2, "BOOL"), b"\1\2", "Input x has the byte 2 for a BOOL; use 0 or 1."),
        (binary_input(7, "BYTES"), bytes(7), "2 BYTES elements take at least 4 each"),
        (binary_input(8, "BYTES"), b"\xff\xff\xff\xff1234", "Element 0 of input x has 4294967295 bytes; 4 are left."),
        (binary_input(9, "BYTES"), b"\4\0\0\0abcd1", "ends before the length of element 1"),
        (binary_input(9, "BYTES"), bytes(9), "Input x has 1 bytes of data after its last element."),
        (binary_input(8, "BYTES", (2**40,)), bytes(8), "1099511627776 BYTES elements take at least 4 each"),
    ],
)
def test_binary_data_that_lie_are_refused(api: RestApi, document: dict[str, Any], data: bytes, text: str) -> None:
    assert text in refusal(api, document, data)


@pytest.mark.parametrize("length", ["-1", "1e3", "99999999999999999999", "x", "500"])
def test_header_length_that_lies_is_refused(api: RestApi, length: str) -> None:
    reply = post(api, "/v2/models/echo/infer", b"{}", inference_header_content_length=length)
    assert reply.status == 400
    assert HEADER_LENGTH in error(reply)[1]


def test_text_that_is_not_utf8_needs_a_binary_tensor(api: RestApi) -> None:
    data = b"\1\0\0\0\xff"
    document = binary_input(5, "BYTES", (1,))
    document["parameters"] = {"signature_name": "bytes"}
    assert "Output y has bytes that are not UTF-8 text (base64: /w==); ask for it with the parameter binary_data." in refusal(
        api, document, data
    )


def test_inference_counts_as_predict_and_nothing_else_counts(core: ServerCore) -> None:
    api = RestApi(core, Metrics())
    infer(api, {"inputs": [X]})
    infer(api, {"inputs": []})
    get(api, "/v2/health/ready")
    get(api, "/v2/models/echo")
    counts = [line for line in api.metrics.text().splitlines() if "request_count" in line and not line.startswith("#")]
    assert counts == [
        ':tensorflow:serving:request_count{model_name="echo",status="INVALID_ARGUMENT"} 1',
        ':tensorflow:serving:request_count{model_name="echo",status="OK"} 1',
    ]


class Log:
    """Keeps what it is given, in place of a RequestLog."""

    def __init__(self) -> None:
        self.rows: list[Any] = []

    def wants(self) -> bool:
        return True

    def write(self, *row: Any) -> None:
        self.rows.append(row)


def test_inference_is_logged_as_predict(core: ServerCore) -> None:
    log = Log()
    infer(RestApi(core, Metrics(), request_log=log), {"inputs": [X]})  # type: ignore[arg-type]
    ((method, request, response),) = log.rows
    assert (method, type(request)) == ("Predict", serving_message("PredictRequest"))
    assert request.model_spec.signature_name == "serving_default"
    assert (response.model_spec.name, response.model_spec.version.value) == ("echo", 3)
    assert response.outputs["y"].tensor_content == request.inputs["x"].tensor_content


def test_without_the_flag_the_paths_do_not_exist(tmp_path: Path) -> None:
    with echo_core(tmp_path, replace(OPTIONS, open_inference_protocol=False)) as core:
        api = RestApi(core, Metrics())
        for method, path in (("GET", "/v2"), ("GET", "/v2/health/live"), ("POST", "/v2/models/echo/infer")):
            reply = api.answer(RestRequest(method, path))
            assert (reply.status, reply.headers["Content-Type"]) == (404, "text/html")
