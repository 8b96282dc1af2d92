"""The recorded answers of a real ModelServer 2.20, and how the embedded server's answers are compared with them.

Each line of `tests/serving/recorded/recordings.jsonl` holds a request and its answer; the first line holds the flags of the
servers A to E. The order of keys and of lists of names varies between runs of the real server, so they are compared as sets.
The names of nodes in op errors are TensorFlow's own and are ignored. Floats may differ in the last digits of float32, as the
results of TensorFlow's kernels differ between CPUs.
"""

from __future__ import annotations

import base64
import http.client
import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from google.protobuf import json_format
from google.protobuf.message_factory import GetMessageClass

from serving.protocol.messages import pool, service
from serving.server import Server, ServerOptions, parse_flags

RECORDED = Path(__file__).parents[1] / "recorded"
MODELS = RECORDED / "models"

Row = dict[str, Any]


def load_rows() -> list[Row]:
    with (RECORDED / "recordings.jsonl").open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


META, *ROWS = load_rows()

IN_COMPANY = frozenset(
    (
        "batch_mixshape_b", "batch_err_shared_ok", "batch_flood_4", "batch_flood_5", "batch_flood_6", "batch_flood_7",
        "batch_flood_8", "batch_flood_17", "batch_flood_18", "g_b_flood_4", "g_b_mixshape_0", "g_b_mixshape_1",
    )
)  # fmt: skip
"""Recordings of the batching server whose answers depend on other clients' requests (test_recorded_batching.py)."""


def rows(server: str | None, kind: str) -> list[Row]:
    """Return the recordings of one kind from one server, without those that its client ended."""
    return [row for row in ROWS if row.get("server") == server and row["kind"] == kind and not _ended_by_client(row)]


def _ended_by_client(row: Row) -> bool:
    return "artifact" in row or (row.get("status_code") == "DEADLINE_EXCEEDED" and row["server"] != "D")


def placed(text: str, base: Path) -> str:
    """Return a recorded text with `{base}` replaced by a folder."""
    return text.replace("{base}", str(base))


def write_config_files(folder: Path, base: Path = RECORDED) -> None:
    """Write the config files that the recorded servers' flags name."""
    for name, text in META["config_files"].items():
        (folder / name).write_text(placed(text, base))


def recorded_options(server: str, folder: Path) -> ServerOptions:
    """Return the options of a recorded server: its flags with config files in `folder`, on free ports."""
    flags = [flag.replace("=run/", f"={folder}/") for flag in META["servers"][server].split()]
    return replace(parse_flags(flags), grpc_port=0, rest_port=0)


def differences(row: Row, server: Server, channel: grpc.Channel, base: Path = RECORDED) -> list[str]:
    """Send a recorded request to a server over its interface. Return how the answer differs from the recorded one."""
    if row["kind"] == "rest":
        assert server.rest_port is not None
        return rest_differences(row, send_rest(server.rest_port, row), base)
    return grpc_differences(row, send_grpc(channel, row, base), base)


@dataclass(frozen=True)
class HttpAnswer:
    status: int
    headers: dict[str, str]
    body: bytes


def send_rest(port: int, row: Row) -> HttpAnswer:
    """Send a recorded REST request with its path unchanged."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    body = base64.b64decode(row["request_body_base64"]) if "request_body_base64" in row else None
    if "request_body" in row:
        body = row["request_body"].encode()
    try:
        connection.request(row["method"], row["path"], body, row.get("request_headers", {}))
        response = connection.getresponse()
        return HttpAnswer(response.status, dict(response.getheaders()), response.read())
    finally:
        connection.close()


def rest_differences(row: Row, answer: HttpAnswer, base: Path) -> list[str]:
    """Return how an answer differs from the recorded one; empty if it does not."""
    found = []
    if answer.status != row["http_status"]:
        found.append(f"status {answer.status}, recorded {row['http_status']}: {answer.body[:300]!r}")
    recorded_headers = row["response_headers"]
    for name, value in recorded_headers.items():
        if answer.headers.get(name) != value:
            found.append(f"header {name}: {answer.headers.get(name)!r}, recorded {value!r}")
    extra = [name for name in answer.headers if name.startswith("Access-Control") and name not in recorded_headers]
    found += [f"header {name} that was not recorded" for name in extra]
    return found + _body_differences(_recorded_body(row, base), answer.body)


def _recorded_body(row: Row, base: Path) -> bytes:
    if "response_body_base64" in row:
        return base64.b64decode(row["response_body_base64"])
    return placed(row["response_body"], base).encode()


def _body_differences(recorded: bytes, got: bytes) -> list[str]:
    if _comparable(recorded) != _comparable(got):
        return [f"body {got[:1500]!r}\n  recorded {recorded[:1500]!r}"]
    return []


def _comparable(body: bytes) -> Any:
    """Return the body's content with whole numbers as text, and its layout: the lines without floats, sorted."""
    text = _without_node_names(body.decode("utf-8", "surrogateescape"))
    layout = sorted(_FLOAT.sub("FLOAT", line.rstrip(",")) for line in text.split("\n"))
    try:
        content = json.loads(text, parse_float=NearFloat, parse_int=str, parse_constant=str)
    except ValueError:
        return text
    return (content, layout) if "error" not in text[:20] else _error_text(content)


def _error_text(content: Any) -> Any:
    """Sort the map keys in quoted signatures, whose order varies."""
    message = content["error"]
    return sorted(re.split(r"[\n{},]", message)) if "SignatureDef" in message or "keys must be" in message else message


_FLOAT = re.compile(r"(?<![\w.])-?\d+(\.\d+([eE][-+]?\d+)?|[eE][-+]?\d+)")
_LAST_PLACES = 4
"""Units in the last place of float32 by which exp() and matrix products differ between CPUs."""


class NearFloat:
    """A float in an answer. It equals a float with the same text, or one a few units in the last place of float32 away.

    The same number in another text is not equal, as digits and exponents are part of the protocol. Numbers with more than
    the 9 digits of a float32 are doubles and must be exact.
    """

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text

    def __hash__(self) -> int:
        return 0

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, NearFloat) or self.text == other.text:
            return isinstance(other, NearFloat)
        if max(_digits(self.text), _digits(other.text)) > 9:
            return False
        mine, theirs = float(self.text), float(other.text)
        return mine != theirs and abs(mine - theirs) <= _LAST_PLACES * float(np.spacing(np.float32(abs(mine))))


def _digits(text: str) -> int:
    return len(re.split("[eE]", text)[0].replace(".", "").lstrip("-0"))


_NODES = re.compile(r"\{\{(function_node|node) [^}]*\}\}")


def _without_node_names(text: str) -> str:
    return _NODES.sub(r"{{\1}}", text)


@dataclass(frozen=True)
class GrpcAnswer:
    code: str
    message: str
    response: bytes | None


def send_grpc(channel: grpc.Channel, row: Row, base: Path) -> GrpcAnswer:
    """Send a recorded gRPC request, byte for byte unless it contains a folder's name."""
    call = channel.unary_unary(row["method"], request_serializer=None, response_deserializer=None)
    try:
        response = call(_request_bytes(row, base), timeout=row.get("timeout_s", 20))
    except grpc.RpcError as exc:
        return GrpcAnswer(exc.code().name, exc.details() or "", None)
    return GrpcAnswer("OK", "", response)


def _request_bytes(row: Row, base: Path) -> bytes:
    if "{base}" not in json.dumps(row.get("request", {})):
        return base64.b64decode(row["request_base64"])
    request = GetMessageClass(_method(row).input_type)()
    json_format.Parse(placed(json.dumps(row["request"]), base), request, descriptor_pool=pool())
    data: bytes = request.SerializeToString()
    return data


def _method(row: Row) -> Any:
    _, name, method = row["method"].split("/")
    return service(name).methods_by_name[method]


def grpc_differences(row: Row, answer: GrpcAnswer, base: Path) -> list[str]:
    """Return how an answer differs from the recorded one; empty if it does not."""
    found = []
    if answer.code != row["status_code"]:
        found.append(f"code {answer.code} ({answer.message}), recorded {row['status_code']} ({row['message']})")
    got, recorded = _without_node_names(answer.message), _without_node_names(placed(row["message"], base))
    if got != recorded:
        found.append(f"message {got!r}\n  recorded {recorded!r}")
    if answer.response is not None and "response_base64" in row:
        got, recorded = (_as_dict(row, data, base) for data in (answer.response, base64.b64decode(row["response_base64"])))
        if got != recorded:
            found.append(f"response {got}\n  recorded {recorded}")
    return found


def _as_dict(row: Row, data: bytes, base: Path) -> Any:
    response = GetMessageClass(_method(row).output_type).FromString(data)
    fields = json_format.MessageToDict(response, preserving_proto_field_name=True, descriptor_pool=pool())
    if "metric" in fields:
        fields["metric"].sort(key=lambda metric: metric["name"])
    text = json.dumps(_with_content_as_floats(fields)).replace("/tmp/tfs", str(base))
    return json.loads(text, parse_float=NearFloat)


def _with_content_as_floats(value: Any) -> Any:
    """Return a message's dictionary with `tensor_content` of float32 tensors as numbers, so that they are compared as floats."""
    if isinstance(value, list):
        return [_with_content_as_floats(item) for item in value]
    if not isinstance(value, dict):
        return value
    if value.get("dtype") == "DT_FLOAT" and "tensor_content" in value:
        numbers = np.frombuffer(base64.b64decode(value["tensor_content"]), "<f4")
        return {**value, "tensor_content": [float(str(number)) for number in numbers]}
    return {key: _with_content_as_floats(item) for key, item in value.items()}
