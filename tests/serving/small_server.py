"""A small model server in its own process, for the tests of the client and the smoke test.

    python -m tests.serving.small_server [--weight W] [--swapped-metadata] [--rest-port N] [--grpc-port N] [--tls FOLDER]
        [--certificate FILE --key FILE [--client-ca FILE]] [--token-file FILE] [--refusals N] [--headers FILE]

The server computes with NumPy and speaks TensorFlow Serving's protocol over gRPC and REST. Unlike the embedded server, it
can misbehave on purpose. It prints `grpc PORT rest PORT` when both ports are open, and ends when its standard input closes.

    affine   versions 1 (2x+1), 2 (3x+1), label stable -> 1: y float32[?,3], total float32[?]
    echo     one signature per dtype: output y is input x
    late     becomes available half a second after the start
    broken   could not be loaded
    slow     answers after five seconds
    busy     is always overloaded
    noisy    as affine, but never answers the same twice; labels stable -> 1, canary -> 2
    grown    version 1 as affine; version 2 answers four columns, float64 totals, and an output `extra`
"""

from __future__ import annotations

import argparse
import base64
import gzip
import json
import ssl
import sys
import threading
import time
from collections import Counter
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import grpc
import numpy as np
from google.protobuf import json_format

from serving.protocol.messages import MODEL_SERVICE, PREDICTION_SERVICE, message, service, serving_message
from serving.protocol.tensors import dtype_number, from_proto, to_proto

DTYPES = (
    "float16", "bfloat16", "float32", "float64", "int8", "int16", "int32", "int64",
    "uint8", "uint16", "uint32", "uint64", "bool", "string", "complex64", "complex128",
)  # fmt: skip
STARTED = time.monotonic()
STOPPING = threading.Event()
VERSIONS = {"affine": (1, 2), "echo": (7,), "late": (1,), "broken": (1,)}
VERSIONS |= dict.fromkeys(("slow", "busy", "noisy", "grown"), (1, 2))
LABELS = {("affine", "stable"): 1, ("noisy", "stable"): 1, ("noisy", "canary"): 2}


class RefusedError(Exception):
    def __init__(self, code: grpc.StatusCode, text: str) -> None:
        super().__init__(text)
        self.code = code


class Guard:
    """What the server demands of a request before it looks at the model.

    Args:
        token_file: holds the token that requests must carry, as of now.
        refusals: number of inferences of each `x-user` that are answered with UNAVAILABLE.
        headers: file that gets the headers of each request, a line of JSON each.
    """

    def __init__(self, token_file: Path | None = None, refusals: int = 0, headers: Path | None = None) -> None:
        self._token_file, self._refusals, self._headers = token_file, refusals, headers
        self._refused: Counter[str] = Counter()

    def check(self, headers: dict[str, str], *, is_inference: bool) -> None:
        if self._headers:
            with self._headers.open("a") as file:
                file.write(json.dumps(headers) + "\n")
        if self._token_file and headers.get("authorization") != f"Bearer {self._token_file.read_text().strip()}":
            raise RefusedError(grpc.StatusCode.UNAUTHENTICATED, "the token is not valid")
        user = headers.get("x-user", "")
        if is_inference and self._refused[user] < self._refusals:
            self._refused[user] += 1
            raise RefusedError(grpc.StatusCode.UNAVAILABLE, "no server is free")


class Models:
    def __init__(self, weight: float, swapped_metadata: bool) -> None:
        self.weight = weight
        self.swapped_metadata = swapped_metadata

    def resolve(self, spec: Any) -> int:
        name, versions = spec.name, VERSIONS.get(spec.name)
        if versions is None:
            raise RefusedError(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: Latest({name})")
        if spec.HasField("version"):
            if spec.version.value not in versions:
                text = f"Servable not found for request: Specific({name}, {spec.version.value})"
                raise RefusedError(grpc.StatusCode.NOT_FOUND, text)
            return int(spec.version.value)
        if spec.version_label:
            if (name, spec.version_label) not in LABELS:
                text = f"Unrecognized servable version label: {spec.version_label}"
                raise RefusedError(grpc.StatusCode.INVALID_ARGUMENT, text)
            return LABELS[name, spec.version_label]
        return versions[-1]

    def run(self, spec: Any, inputs: dict[str, Any]) -> dict[str, Any]:
        version = self.resolve(spec)
        signatures = self.signatures(spec.name)
        chosen = spec.signature_name or "serving_default"
        if chosen not in signatures:
            code = grpc.StatusCode.FAILED_PRECONDITION
            raise RefusedError(code, f'Serving signature key "{chosen}" not found.')
        wanted = signatures[chosen][0]
        if set(wanted) != set(inputs):
            text = f"input size does not match signature: {len(inputs)}!={len(wanted)}"
            raise RefusedError(grpc.StatusCode.INVALID_ARGUMENT, text)
        if spec.name == "busy":
            raise RefusedError(
                grpc.StatusCode.UNAVAILABLE,
                "The batch scheduling queue to which this task was submitted is full",
            )
        if spec.name == "slow":
            STOPPING.wait(5)
        if spec.name == "echo":
            return {"y": inputs["x"]}
        x = inputs["x"]
        if x.dtype != np.float32:
            raise RefusedError(
                grpc.StatusCode.INVALID_ARGUMENT, f"Expects arg[0] to be float but {x.dtype} is provided"
            )
        y = x * np.float32(version + 1) + np.float32(self.weight)
        if spec.name == "noisy":
            y += np.random.default_rng().normal(size=y.shape).astype(np.float32)
        if spec.name == "grown" and version == 2:
            return {"y": np.pad(y, ((0, 0), (0, 1))), "total": y.sum(axis=-1, dtype=np.float64), "extra": y}
        return {"y": y, "total": y.sum(axis=-1, dtype=np.float32)}

    def signatures(self, name: str) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
        """Return inputs and outputs by signature, each as name -> (dtype, dims)."""
        if name == "echo":
            return {f"echo_{d}": ({"x": (d, (-1, 2))}, {"y": (d, (-1, 2))}) for d in DTYPES}
        y = ("float64", (-1, 4)) if self.swapped_metadata else ("float32", (-1, 3))
        return {"serving_default": ({"x": ("float32", (-1, 3))}, {"y": y, "total": ("float32", (-1,))})}

    def metadata(self, name: str) -> Any:
        made = serving_message("SignatureDefMap")()
        for signature, sides in self.signatures(name).items():
            definition = made.signature_def[signature]
            definition.method_name = "tensorflow/serving/predict"
            for side, tensors in zip((definition.inputs, definition.outputs), sides, strict=True):
                for tensor, (dtype, dims) in tensors.items():
                    side[tensor].dtype = dtype_number(dtype)
                    for size in dims:
                        side[tensor].tensor_shape.dim.add(size=size)
        init = made.signature_def["__saved_model_init_op"].outputs["__saved_model_init_op"]
        init.tensor_shape.unknown_rank = True
        return made

    def status(self, spec: Any) -> Any:
        if spec.name not in VERSIONS:
            raise RefusedError(grpc.StatusCode.NOT_FOUND, f"Could not find any versions of model {spec.name}")
        response = serving_message("GetModelStatusResponse")()
        for version in reversed(VERSIONS[spec.name]):
            if spec.HasField("version") and spec.version.value != version:
                continue
            row = response.model_version_status.add(version=version, state=30)
            if spec.name == "broken":
                row.state, row.status.error_code, row.status.error_message = (
                    50,
                    3,
                    "saved_model.pb is damaged",
                )
            if spec.name == "late" and time.monotonic() - STARTED < 0.5:
                row.state = 20
        if not response.model_version_status:
            text = f"Could not find version {spec.version.value} of model {spec.name}"
            raise RefusedError(grpc.StatusCode.NOT_FOUND, text)
        return response


def _predict(models: Models, request: Any) -> Any:
    inputs = {name: from_proto(tensor) for name, tensor in request.inputs.items()}
    outputs = models.run(request.model_spec, inputs)
    response = serving_message("PredictResponse")()
    for name, array in outputs.items():
        response.outputs[name].CopyFrom(to_proto(array, content=False))
    return response


def _metadata(models: Models, request: Any) -> Any:
    version = models.resolve(request.model_spec)
    response = serving_message("GetModelMetadataResponse")(model_spec={"name": request.model_spec.name})
    response.model_spec.version.value = version
    response.metadata["signature_def"].Pack(models.metadata(request.model_spec.name))
    return response


def _status(models: Models, request: Any) -> Any:
    return models.status(request.model_spec)


def serve_grpc(models: Models, guard: Guard, options: argparse.Namespace) -> tuple[Any, int]:
    server = grpc.server(futures.ThreadPoolExecutor(8), options=[("grpc.max_receive_message_length", -1)])

    def handler(function: Any, method: Any) -> Any:
        def call(request: Any, context: grpc.ServicerContext) -> Any:
            try:
                metadata = {key: str(value) for key, value in context.invocation_metadata()}
                guard.check(metadata, is_inference=function is _predict)
                return function(models, request)
            except RefusedError as refused:
                context.set_trailing_metadata((("grpc-retry-pushback-ms", "10"),))
                context.abort(refused.code, str(refused))

        return grpc.unary_unary_rpc_method_handler(
            call,
            message(method.input_type.full_name).FromString,
            lambda response: response.SerializeToString(),
        )

    for name, functions in (
        (PREDICTION_SERVICE, {"Predict": _predict, "GetModelMetadata": _metadata}),
        (MODEL_SERVICE, {"GetModelStatus": _status}),
    ):
        methods = service(name).methods_by_name
        handlers = {method: handler(function, methods[method]) for method, function in functions.items()}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, handlers),))
    if options.certificate is None:
        port = server.add_insecure_port(f"127.0.0.1:{options.grpc_port}")
    else:
        pair = options.key.read_bytes(), options.certificate.read_bytes()
        clients = options.client_ca.read_bytes() if options.client_ca else None
        credentials = grpc.ssl_server_credentials([pair], clients, require_client_auth=clients is not None)
        port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    return server, port


class RestServer(ThreadingHTTPServer):
    """A server whose queue has room for the connections of many clients at once; the default is 5."""

    request_queue_size = 1024


class Rest(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    models: Models
    guard: Guard

    def _checked(self, *, is_inference: bool) -> bool:
        try:
            self.guard.check({key.lower(): value for key, value in self.headers.items()}, is_inference=is_inference)
        except RefusedError as refused:
            self._refuse(refused)
            return False
        return True

    def log_message(self, format: str, *args: object) -> None:
        return

    def do_GET(self) -> None:
        if not self._checked(is_inference=False):
            return
        spec, action = self._spec()
        try:
            if action == "metadata":
                version = self.models.resolve(spec)
                signatures = json_format.MessageToDict(
                    self.models.metadata(spec.name),
                    preserving_proto_field_name=True,
                    always_print_fields_with_no_presence=True,
                )
                answer: Any = {
                    "model_spec": {"name": spec.name, "signature_name": "", "version": str(version)},
                    "metadata": {"signature_def": signatures},
                }
            else:
                answer = json_format.MessageToDict(self.models.status(spec), preserving_proto_field_name=True)
            self._answer(200, answer)
        except RefusedError as refused:
            self._refuse(refused)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/hang-up":
            self.close_connection = True
            return
        if not self._checked(is_inference=True):
            return
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        spec, _ = self._spec()
        request = json.loads(body)
        spec.signature_name = request.get("signature_name", "")
        try:
            if spec.name not in VERSIONS:
                self.models.resolve(spec)
            wanted = self.models.signatures(spec.name).get(spec.signature_name or "serving_default", ({}, {}))[0]
            row = "instances" in request
            if row:
                names = list(request["instances"][0])
                values = {name: [instance[name] for instance in request["instances"]] for name in names}
            else:
                values = request["inputs"]
            inputs = {k: _array(v, wanted[k][0]) if k in wanted else v for k, v in values.items()}
            outputs = {k: _plain(v) for k, v in self.models.run(spec, inputs).items()}
            only = next(iter(outputs.values())) if len(outputs) == 1 else None
            if row:
                rows = [dict(zip(outputs, r, strict=True)) for r in zip(*outputs.values(), strict=True)]
                self._answer(200, {"predictions": rows if only is None else only})
            else:
                self._answer(200, {"outputs": outputs if only is None else only})
        except RefusedError as refused:
            self._refuse(refused)

    def _spec(self) -> tuple[Any, str]:
        path, _, verb = self.path.partition(":")
        parts = path.split("/")[3:]
        spec = serving_message("ModelSpec")(name=unquote(parts[0]))
        if parts[1:2] == ["versions"]:
            spec.version.value = int(parts[2])
        if parts[1:2] == ["labels"]:
            spec.version_label = unquote(parts[2])
        return spec, verb or parts[-1]

    def _answer(self, status: int, answer: Any) -> None:
        data = json.dumps(answer, indent=1).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        if status == 503:
            self.send_header("Retry-After", "0")
        self.end_headers()
        self.wfile.write(data)

    def _refuse(self, refused: RefusedError) -> None:
        statuses = {"NOT_FOUND": 404, "UNAVAILABLE": 503, "UNAUTHENTICATED": 401}
        self._answer(statuses.get(refused.code.name, 400), {"error": str(refused)})


def _array(value: Any, dtype: str) -> Any:
    if dtype != "string":
        return np.array(value, dtype)
    texts = np.array(value, np.object_)
    return np.array([base64.b64decode(v["b64"]) for v in texts.ravel()], np.object_).reshape(texts.shape)


def _plain(array: Any) -> Any:
    if array.dtype.kind != "O":
        return array.tolist()
    return [[{"b64": base64.b64encode(v).decode()} for v in row] for row in array]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--weight", type=float, default=1.0)
    parser.add_argument("--swapped-metadata", action="store_true")
    parser.add_argument("--rest-port", type=int, default=0)
    parser.add_argument("--grpc-port", type=int, default=0)
    parser.add_argument("--tls", type=Path, help="a folder with key.pem and cert.pem")
    parser.add_argument("--certificate", type=Path)
    parser.add_argument("--key", type=Path)
    parser.add_argument("--client-ca", type=Path, help="requires certificates of clients that this authority has issued")
    parser.add_argument("--token-file", type=Path)
    parser.add_argument("--refusals", type=int, default=0)
    parser.add_argument("--headers", type=Path)
    options = parser.parse_args()
    if options.tls:
        options.certificate, options.key = options.tls / "cert.pem", options.tls / "key.pem"
    Rest.models = Models(options.weight, options.swapped_metadata)
    Rest.guard = Guard(options.token_file, options.refusals, options.headers)
    server, grpc_port = serve_grpc(Rest.models, Rest.guard, options)
    rest = RestServer(("127.0.0.1", options.rest_port), Rest)
    if options.certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(options.certificate, options.key)
        if options.client_ca:
            context.load_verify_locations(options.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
        rest.socket = context.wrap_socket(rest.socket, server_side=True)
    threading.Thread(target=rest.serve_forever, daemon=True).start()
    print("grpc", grpc_port, "rest", rest.server_address[1], flush=True)
    sys.stdin.read()
    STOPPING.set()
    rest.shutdown()
    server.stop(0).wait()


if __name__ == "__main__":
    main()
