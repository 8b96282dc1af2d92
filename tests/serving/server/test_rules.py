"""TensorFlow Serving's rules: for each the rule, the source file that implements it, a request and its answer.

The recordings show what a real server answers; these rows explain why. Sources are paths below tensorflow_serving/.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import json_format
from google.protobuf.message_factory import GetMessageClass

from serving.protocol.messages import MODEL_SERVICE, PREDICTION_SERVICE, pool, service
from serving.server import Server
from tests.serving.server.recordings import MODELS

HANDLER = "model_servers/http_rest_api_handler.cc"
PATHS = "model_servers/http_rest_api_util.cc"
JSON = "util/json_tensor.cc"
STATUS = "util/net_http/server/public/response_code_enum.h, model_servers/http_server.cc"
PREDICT = "servables/tensorflow/predict_util.cc"
CLASSIFY = "servables/tensorflow/classifier.cc"
REGRESS = "servables/tensorflow/regressor.cc"
MULTI = "servables/tensorflow/multi_inference.cc"
METADATA = "servables/tensorflow/get_model_metadata_impl.cc"
MODEL_STATUS = "model_servers/get_model_status_impl.cc"
CORE = "model_servers/server_core.cc"
MANAGER = "core/basic_manager.cc"
INPUT = "servables/tensorflow/util.cc"
TENSOR = "tensorflow/core/framework/tensor.cc"

READ_BY_TENSORFLOW_ALONE = (
    "qint8", "quint8", "qint16", "quint16", "qint32", "float8_e5m2", "float8_e4m3fn", "float8_e4m3fnuz",
    "float8_e4m3b11fnuz", "float8_e5m2fnuz", "int4", "uint4", "int2", "uint2", "variant",
)  # fmt: skip
"""Dtypes that Tensor::FromProto reads but NumPy lacks."""

CONFIG = """model_config_list {
  config { name: "rows" base_path: "{models}/rows" model_platform: "tensorflow"
    model_version_policy { specific { versions: 1 versions: 2 } }
    version_labels { key: "stable" value: 1 } version_labels { key: "canary" value: 2 } }
  config { name: "strs" base_path: "{models}/strs" model_platform: "tensorflow" }
  config { name: "types" base_path: "{models}/types" model_platform: "tensorflow" }
  config { name: "clsreg" base_path: "{models}/clsreg" model_platform: "tensorflow" }
}"""


@dataclass(frozen=True)
class Rest:
    """A rule of the REST interface. `error` is the whole text of an error, `answer` the JSON of another reply."""

    rule: str
    source: str
    path: str
    body: str | None = None
    status: int = 200
    answer: Any = None
    error: str | None = None
    method: str = ""


def single(**fields: Any) -> str:
    return json.dumps({"signature_name": "single", **fields})


ROW = [[1.0, 2.0, 3.0, 4.0]]
DOUBLED = [[2.0, 4.0, 6.0, 8.0]]
EXAMPLES = '{"signature_name": "%s", "examples": [{"x": [1.0, 2.0]}]}'

REST = [
    Rest("methods are called with POST; another verb is a malformed request, never 405", HANDLER,
         "/v1/models/rows:predict", status=400, error="Malformed request: GET /v1/models/rows:predict"),
    Rest("any other path below /v1/ is a malformed request", HANDLER,
         "/v1/models/rows/versions", status=400, error="Malformed request: GET /v1/models/rows/versions"),
    Rest("the path is matched with its query string", PATHS,
         "/v1/models/rows?x=1", status=404, error="Could not find any versions of model rows?x=1"),
    Rest("names are percent-decoded after the match", PATHS,
         "/v1/models/ro%77s:predict", single(instances=ROW), answer={"predictions": DOUBLED}),
    Rest("a version number chooses a version", PATHS,
         "/v1/models/rows/versions/1:predict", single(instances=ROW), answer={"predictions": ROW}),
    Rest("a label chooses the version that the config assigns to it", PATHS,
         "/v1/models/rows/labels/stable:predict", single(instances=ROW), answer={"predictions": ROW}),
    Rest("an unknown label is an invalid argument", CORE, "/v1/models/rows/labels/old:predict", single(instances=ROW),
         status=400, error="Unrecognized servable version label: old"),
    Rest("a model that is not served is not found on predict", MANAGER, "/v1/models/gone:predict",
         single(instances=ROW), status=404, error="Servable not found for request: Latest(gone)"),
    Rest("a version that is not served is not found on predict", MANAGER, "/v1/models/rows/versions/9:predict",
         single(instances=ROW), status=404, error="Servable not found for request: Specific(rows, 9)"),
    Rest("a version beyond int64 is an invalid argument with an empty body", PATHS,
         "/v1/models/rows/versions/9223372036854775808:predict", single(instances=ROW), status=400, answer=""),
    Rest("status: a string for the version, snake_case names, 200 for any state", MODEL_STATUS,
         "/v1/models/rows/versions/1",
         answer={"model_version_status": [
             {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}]}),
    Rest("the status of an unknown model has its own text", MODEL_STATUS,
         "/v1/models/gone", status=404, error="Could not find any versions of model gone"),
    Rest("the status of an unknown version has its own text", MODEL_STATUS,
         "/v1/models/rows/versions/9", status=404, error="Could not find version 9 of model rows"),
    Rest("metadata needs a version that is served", METADATA,
         "/v1/models/gone/metadata", status=404, error="Servable not found for request: Latest(gone)"),
    Rest("instances is the row form, which predictions answers", JSON,
         "/v1/models/rows:predict", single(instances=ROW), answer={"predictions": DOUBLED}),
    Rest("a row may name its input", JSON,
         "/v1/models/rows:predict", single(instances=[{"x": ROW[0]}]), answer={"predictions": DOUBLED}),
    Rest("inputs is the column form, which outputs answers", JSON,
         "/v1/models/rows:predict", single(inputs=ROW), answer={"outputs": DOUBLED}),
    Rest("columns may be named", JSON,
         "/v1/models/rows:predict", single(inputs={"x": ROW}), answer={"outputs": DOUBLED}),
    Rest("several outputs are named, in one object per row", JSON,
         "/v1/models/rows:predict", '{"signature_name": "two", "instances": [{"a": 1.5, "b": 2}]}',
         answer={"predictions": [{"c": 5.0, "d": 4}]}),
    Rest("several outputs are named, in one object for all columns", JSON,
         "/v1/models/rows:predict", '{"signature_name": "two", "inputs": {"a": [1.5], "b": [2]}}',
         answer={"outputs": {"c": [5.0], "d": [4]}}),
    Rest("a body needs instances or inputs", JSON, "/v1/models/rows:predict", "{}",
         status=400, error="Missing 'inputs' or 'instances' key"),
    Rest("a body must not have both instances and inputs", JSON, "/v1/models/rows:predict", single(instances=ROW, inputs=ROW),
         status=400, error=None),
    Rest("the column form ignores keys that are not in the signature", JSON, "/v1/models/rows:predict",
         single(inputs={"x": ROW, "more": [1]}), answer={"outputs": DOUBLED}),
    Rest("the row form needs outputs with a batch axis", JSON, "/v1/models/rows:predict",
         '{"signature_name": "scalar_out", "instances": [[1, 2, 3, 4]]}', status=400,
         error="Tensor name: total has no shape information "),
    Rest("the column form answers a scalar as a scalar", JSON, "/v1/models/rows:predict",
         '{"signature_name": "scalar_out", "inputs": [[1, 2, 3, 4]]}', answer={"outputs": 20.0}),
    Rest("bytes are an object whose only key is b64", JSON, "/v1/models/strs:predict",
         '{"signature_name": "text_only", "instances": [{"b64": "aGk="}]}', answer={"predictions": ["hi"]}),
    Rest("padding of base64 is optional", JSON, "/v1/models/strs:predict",
         '{"signature_name": "text_only", "instances": [{"b64": "aGk"}]}', answer={"predictions": ["hi"]}),
    Rest("an output whose name ends in _bytes is base64", JSON, "/v1/models/strs:predict",
         '{"signature_name": "bytes_only", "instances": ["hi"]}', answer={"predictions": [{"b64": "aGk="}]}),
    Rest("NaN and infinities have no quotes, in requests and replies", JSON, "/v1/models/types:predict",
         '{"signature_name": "one_f", "inputs": [NaN, Infinity, -Infinity]}',
         answer={"outputs": [float("nan"), float("inf"), float("-inf")]}),
    Rest("integer tensors refuse 1.0", JSON, "/v1/models/types:predict",
         '{"signature_name": "one_i32", "inputs": [1.0]}', status=400,
         error="JSON Value: 1.0 Type: Number is not of expected type: int32"),
    Rest("the range of 64-bit integers is checked", JSON, "/v1/models/types:predict",
         '{"signature_name": "one_i64", "inputs": [9223372036854775808]}', status=400,
         error="JSON Value: 9223372036854775808 Type: Number is not of expected type: int64"),
    Rest("8- and 16-bit integers that the real server wraps are refused here (known_differences.py)", JSON,
         "/v1/models/types:predict",
         '{"signature_name": "one_i8", "inputs": [129]}', status=400,
         error="JSON Value: 129 Type: Number is not of expected type: int8"),
    Rest("too large for float32 is Infinity", JSON, "/v1/models/types:predict",
         '{"signature_name": "one_f", "inputs": [1e39]}', answer={"outputs": [float("inf")]}),
    Rest("half is not supported in JSON", JSON, "/v1/models/rows:predict",
         '{"signature_name": "half", "inputs": [1.5]}', status=501,
         error="Conversion of JSON Value: 1.5 to type: half"),
    Rest("an unknown signature of predict has its own text", PREDICT, "/v1/models/rows:predict",
         '{"signature_name": "gone", "instances": [1]}', status=400,
         error='Serving signature name: "gone" not found in signature def'),
    Rest("classify answers results with label and score of each class", CLASSIFY, "/v1/models/clsreg:classify",
         EXAMPLES % "classify_classes", answer={"results": [[["a", 0.0], ["b", 0.0], ["c", 0.0]]]}),
    Rest("regress answers results with one number per example", REGRESS, "/v1/models/clsreg:regress",
         EXAMPLES % "regress", answer={"results": [10.0]}),
    Rest("JSON integers become int64 features", JSON, "/v1/models/clsreg:regress",
         '{"signature_name": "regress", "examples": [{"x": [1, 2]}]}', status=400, error=None),
    Rest("an unknown signature of classify has its own text", CLASSIFY, "/v1/models/clsreg:classify",
         EXAMPLES % "gone", status=400, error="No signature was found with the name: gone"),
    Rest("a classify signature does not regress", CLASSIFY, "/v1/models/clsreg:regress",
         EXAMPLES % "classify_classes", status=400, error=None),
]  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    config: Path = tmp_path_factory.mktemp("rules") / "models.config"
    config.write_text(CONFIG.replace("{models}", str(MODELS)))
    with Server(config) as running:
        yield running


@pytest.mark.parametrize("case", REST, ids=lambda case: case.rule)
def test_rest_follows_the_rule(case: Rest, server: Server) -> None:
    assert server.rest_port is not None
    connection = http.client.HTTPConnection("127.0.0.1", server.rest_port, timeout=20)
    verb = case.method or ("GET" if case.body is None else "POST")
    connection.request(verb, case.path, case.body and case.body.encode())
    reply = connection.getresponse()
    text = reply.read().decode()
    connection.close()
    assert reply.status == case.status, text
    if case.answer is None:
        error = json.loads(text)["error"]
        assert error == case.error if case.error is not None else error
    else:
        # repr: NaN equals itself, and 1 is not 1.0
        assert repr(json.loads(text) if text else text) == repr(case.answer)


@dataclass(frozen=True)
class Grpc:
    """A rule of the gRPC interface. `answer` holds fields of the response as in protobuf's JSON."""

    rule: str
    source: str
    method: str
    request: dict[str, Any]
    code: str = "OK"
    message: str = ""
    answer: dict[str, Any] = field(default_factory=dict)


def floats(*values: float, shape: tuple[int, ...] | None = None, **fields: Any) -> dict[str, Any]:
    sizes = [{"size": str(size)} for size in (shape if shape is not None else (len(values),))]
    return {"dtype": "DT_FLOAT", "tensor_shape": {"dim": sizes}, "float_val": list(values), **fields}


def rows(signature: str = "single", inputs: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    inputs = {"x": floats(1, 2, 3, 4, shape=(1, 4))} if inputs is None else inputs
    return {"model_spec": {"name": "rows", "signature_name": signature}, "inputs": inputs, **fields}


def predict_on(model: str, **spec: Any) -> dict[str, Any]:
    return {"model_spec": {"name": model, **spec}, "inputs": {"x": floats(1, 2, 3, 4, shape=(1, 4))}}


EXAMPLE = {"features": {"feature": {"x": {"float_list": {"value": [1.0, 2.0]}}}}}
EXAMPLE_LIST = {"example_list": {"examples": [EXAMPLE]}}


def examples(signature: str, input_message: dict[str, Any] | None = None) -> dict[str, Any]:
    spec = {"name": "clsreg", "signature_name": signature}
    return {"model_spec": spec, "input": EXAMPLE_LIST if input_message is None else input_message}


def task(signature: str, method: str, model: str = "clsreg") -> dict[str, Any]:
    return {"model_spec": {"name": model, "signature_name": signature}, "method_name": f"tensorflow/serving/{method}"}


def answered(*values: float, version: int = 2) -> dict[str, Any]:
    tensor = floats(*values, shape=(1, 4))
    spec = {"name": "rows", "version": str(version), "signature_name": "single"}
    return {"outputs": {"y": tensor}, "model_spec": spec}


GRPC = [
    Grpc("a request needs a model_spec", "servables/tensorflow/predict_impl.cc", "Predict", {},
         "INVALID_ARGUMENT", "Missing ModelSpec"),
    Grpc("a model_spec needs a name", CORE, "Predict", {"model_spec": {}},
         "INVALID_ARGUMENT", "ModelSpec has no name specified."),
    Grpc("a model that is not served is not found", MANAGER, "Predict", predict_on("gone"),
         "NOT_FOUND", "Servable not found for request: Latest(gone)"),
    Grpc("a version that is not served is not found", MANAGER, "Predict", predict_on("rows", version="3"),
         "NOT_FOUND", "Servable not found for request: Specific(rows, 3)"),
    Grpc("a label must be known", CORE, "Predict", predict_on("rows", version_label="old"),
         "INVALID_ARGUMENT", "Unrecognized servable version label: old"),
    Grpc("the response names the model, version and signature that answered", PREDICT, "Predict", rows(),
         answer=answered(2, 4, 6, 8)),
    Grpc("a label chooses a version", CORE, "Predict",
         predict_on("rows", version_label="stable", signature_name="single"), answer=answered(1, 2, 3, 4, version=1)),
    Grpc("an unknown signature is a failed precondition", PREDICT, "Predict", rows("gone"),
         "FAILED_PRECONDITION", 'Serving signature key "gone" not found.'),
    Grpc("all inputs must be given", PREDICT, "Predict", rows(inputs={}), "INVALID_ARGUMENT",
         "input size does not match signature: 0!=1 len({}) != len({x}). Sent extra: {}. Missing but required: {x}."),
    Grpc("further inputs are refused", PREDICT, "Predict",
         rows(inputs={"x": floats(1, 2, 3, 4, shape=(1, 4)), "z": floats(1)}),
         "INVALID_ARGUMENT",
         "input size does not match signature: 2!=1 len({x,z}) != len({x}). Sent extra: {z}. Missing but required: {}."),
    Grpc("output_filter chooses outputs", PREDICT, "Predict", rows(output_filter=["y"]), answer=answered(2, 4, 6, 8)),
    Grpc("output_filter must name outputs of the signature", PREDICT, "Predict", rows(output_filter=["z"]), "INVALID_ARGUMENT",
         "output tensor alias not found in signature: z Outputs expected to be in the set {y}."),
    Grpc("output_filter must not repeat an output", PREDICT, "Predict", rows(output_filter=["y", "y"]), "INVALID_ARGUMENT",
         "duplicate output tensor alias: y"),
    Grpc("the last of too few values is repeated", TENSOR, "Predict",
         rows(inputs={"x": floats(1, 2, shape=(1, 4))}), answer=answered(2, 4, 4, 4)),
    Grpc("a tensor without values is zeros", TENSOR, "Predict",
         rows(inputs={"x": floats(shape=(1, 4))}), answer=answered(0, 0, 0, 0)),
    Grpc("further values are ignored", TENSOR, "Predict",
         rows(inputs={"x": floats(1, 2, 3, 4, 5, 6, shape=(1, 4))}), answer=answered(2, 4, 6, 8)),
    Grpc("tensor_content has precedence over values", TENSOR, "Predict",
         rows(inputs={"x": floats(9, shape=(1, 4), tensor_content="AACAPwAAAEAAAEBAAACAQA==")}),
         answer=answered(2, 4, 6, 8)),
    Grpc("the error for an unreadable tensor names its input", PREDICT, "Predict",
         rows(inputs={"x": {"dtype": "DT_INVALID"}}), "INVALID_ARGUMENT", "tensor parsing error: x"),
    Grpc("an integer tensor is not a float tensor", "tensorflow/core/common_runtime/direct_session.cc", "Predict",
         rows(inputs={"x": {"dtype": "DT_INT32", "tensor_shape": {"dim": [{"size": "1"}]}, "int_val": [1]}}),
         "INVALID_ARGUMENT", "Expects arg[0] to be float but int32 is provided"),
    *(
        Grpc(f"a tensor of {name} is not a float tensor", TENSOR, "Predict",
             rows(inputs={"x": {"dtype": f"DT_{name.upper()}", "tensor_shape": {"dim": [{"size": "2"}]}}}),
             "INVALID_ARGUMENT", f"Expects arg[0] to be float but {name} is provided")
        for name in READ_BY_TENSORFLOW_ALONE
    ),
    Grpc("tensor_content must have the size of the shape", TENSOR, "Predict",
         rows(inputs={"x": {"dtype": "DT_QINT8", "tensor_shape": {"dim": [{"size": "2"}]}, "tensor_content": "AAAA"}}),
         "INVALID_ARGUMENT", "tensor parsing error: x"),
    Grpc("a reference dtype is not a tensor", TENSOR, "Predict",
         rows(inputs={"x": {"dtype": "DT_FLOAT_REF", "tensor_shape": {"dim": [{"size": "2"}]}}}),
         "INVALID_ARGUMENT", "tensor parsing error: x"),
    Grpc("a bool of tensor_content is 0 or 1", TENSOR, "Predict",
         rows(inputs={"x": {"dtype": "DT_BOOL", "tensor_shape": {"dim": [{"size": "1"}]}, "tensor_content": "Ag=="}}),
         "INVALID_ARGUMENT", "tensor parsing error: x"),
    Grpc("a tensor of unknown rank is a scalar", "tensorflow/core/framework/tensor_shape.cc", "Predict",
         rows("anyrank", {"u": {"dtype": "DT_FLOAT", "tensor_shape": {"unknown_rank": True}, "float_val": [1.0]}}),
         answer={"outputs": {"u2": {"dtype": "DT_FLOAT", "tensor_shape": {}, "float_val": [2.0]}}}),
    Grpc("an output that the op lacks is out of range", "tensorflow/core/graph/graph.cc", "Predict",
         rows("__saved_model_init_op", {}), "OUT_OF_RANGE",
         "Node 'NoOp' (type: 'NoOp', num of outputs: 0) does not have output 0"),
    Grpc("the error text of an op need not be UTF-8", "tensorflow/core/kernels/example_parsing_ops.cc", "Predict",
         {"model_spec": {"name": "clsreg", "signature_name": "regress"},
          "inputs": {"inputs": {"dtype": "DT_STRING", "tensor_shape": {"dim": [{"size": "1"}]}, "string_val": ["//4="]}}},
         "INVALID_ARGUMENT",
         "Could not parse example input, value: '\ufffd\ufffd'\n\t [[{{node ParseExample/ParseExampleV2}}]]"),
    Grpc("shapes in a signature are not enforced", PREDICT, "Predict",
         {**rows("anyrank", {"u": floats(1.0, shape=(1, 1))})},
         answer={"outputs": {"u2": floats(2.0, shape=(1, 1))}}),
    Grpc("regress answers one number per example", REGRESS, "Regress", examples("regress"),
         answer={"result": {"regressions": [{"value": 10.0}]}}),
    Grpc("a regress output may be [batch, 1]", REGRESS, "Regress", examples("regress2d"),
         answer={"result": {"regressions": [{"value": 10.0}]}}),
    Grpc("a regress output must not be wider", REGRESS, "Regress", examples("regress_bad"), "INVALID_ARGUMENT",
         "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got [1,2]"),
    Grpc("no examples are an error", INPUT, "Regress", examples("regress", {}), "INVALID_ARGUMENT", "Input is empty."),
    Grpc("the context's features are added to every example", INPUT, "Regress",
         examples("regress", {"example_list_with_context": {"examples": [{}, {}], "context": EXAMPLE}}),
         answer={"result": {"regressions": [{"value": 10.0}, {"value": 10.0}]}}),
    Grpc("classify with labels only gives scores of 0", CLASSIFY, "Classify", examples("classify_classes"),
         answer={"result": {"classifications": [
             {"classes": [{"label": "a"}, {"label": "b"}, {"label": "c"}]}]}}),
    Grpc("an unknown classify signature is an invalid argument", CLASSIFY, "Classify", examples("gone"), "INVALID_ARGUMENT",
         "No signature was found with the name: gone"),
    Grpc("multi-inference refuses the same signature twice", MULTI, "MultiInference",
         {"tasks": [task("regress", "regress"), task("regress", "regress")], "input": EXAMPLE_LIST},
         "INVALID_ARGUMENT", "Duplicate evaluation of signature: regress"),
    Grpc("multi-inference refuses two models", MULTI, "MultiInference",
         {"tasks": [task("regress", "regress"), task("regress", "regress", "rows")], "input": EXAMPLE_LIST},
         "INVALID_ARGUMENT", "All ModelSpecs in a MultiInferenceRequest must access the same model name."),
    Grpc("multi-inference supports only classify and regress", MULTI, "MultiInference",
         {"tasks": [task("regress", "predict")], "input": EXAMPLE_LIST},
         "UNIMPLEMENTED", "Unsupported signature method_name: tensorflow/serving/predict"),
    Grpc("metadata needs a field", METADATA, "GetModelMetadata", {"model_spec": {"name": "rows"}},
         "INVALID_ARGUMENT", "GetModelMetadataRequest must specify at least one metadata_field"),
    Grpc("signature_def is the only metadata field", METADATA, "GetModelMetadata",
         {"model_spec": {"name": "rows"}, "metadata_field": ["assets"]},
         "INVALID_ARGUMENT", "Metadata field assets is not supported"),
    Grpc("status ignores a label", MODEL_STATUS, "GetModelStatus",
         {"model_spec": {"name": "rows", "version_label": "old"}},
         answer={"model_version_status": [
             {"version": "2", "state": "AVAILABLE", "status": {}},
             {"version": "1", "state": "AVAILABLE", "status": {}}]}),
    Grpc("the status of an unknown version is not found", MODEL_STATUS, "GetModelStatus",
         {"model_spec": {"name": "rows", "version": "9"}}, "NOT_FOUND", "Could not find version 9 of model rows"),
    Grpc("a reload needs a list of models", "model_servers/model_service_impl.cc", "HandleReloadConfigRequest",
         {"config": {}}, "INVALID_ARGUMENT",
         "ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is currently supported"),
    Grpc("a model must not be listed twice", CORE, "HandleReloadConfigRequest",
         {"config": {"model_config_list": {"config": [{"name": "m", "base_path": "/m"}, {"name": "m", "base_path": "/m"}]}}},
         "INVALID_ARGUMENT", "Illegal to list model m multiple times in config list"),
    Grpc("a base path must be absolute", CORE, "HandleReloadConfigRequest",
         {"config": {"model_config_list": {"config": [{"name": "m", "base_path": "m", "model_platform": "tensorflow"}]}}},
         "INVALID_ARGUMENT", "Expected model m to have an absolute path or URI; got base_path()=m"),
]  # fmt: skip


@pytest.mark.parametrize("case", GRPC, ids=lambda case: f"{case.method}: {case.rule}")
def test_grpc_follows_the_rule(case: Grpc, server: Server) -> None:
    name = PREDICTION_SERVICE if case.method in service(PREDICTION_SERVICE).methods_by_name else MODEL_SERVICE
    method = service(name).methods_by_name[case.method]
    request = GetMessageClass(method.input_type)()
    json_format.ParseDict(case.request, request, descriptor_pool=pool())
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        call = channel.unary_unary(
            f"/{name}/{case.method}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=GetMessageClass(method.output_type).FromString,
        )
        try:
            response = call(request, timeout=20)
        except grpc.RpcError as exc:
            assert (exc.code().name, exc.details()) == (case.code, case.message)
            return
    assert case.code == "OK"
    fields = json_format.MessageToDict(response, preserving_proto_field_name=True, descriptor_pool=pool())
    assert {key: fields[key] for key in case.answer} == case.answer


def test_each_rule_is_listed_once_with_its_source() -> None:
    rules = [case.rule for case in (*REST, *GRPC)]
    assert len(set(rules)) == len(rules)
    assert all(case.source.endswith((".cc", ".h")) for case in (*REST, *GRPC))
