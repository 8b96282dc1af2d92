"""The server's own log: formats, and ids of requests."""

from __future__ import annotations

import json
import logging
import subprocess
import sys

import grpc
import pytest

from serving import Server
from serving.errors import TargetError
from serving.server.observability.log_lines import (
    JsonFormatter,
    TextFormatter,
    configure_logging,
    log_format,
    request_id,
)
from serving.texts import is_printable
from tests.serving.server.calls import post_with_headers
from tests.serving.server.recordings import MODELS


def test_request_has_the_same_id_in_the_log_and_in_the_reply(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "serving.access")
    with Server(MODELS / "rows", log_format="json") as server:
        _, headers = post_with_headers(server, "rows:predict", {"instances": [[1, 2, 3, 4]]}, **{"X-Request-Id": "abc-1"})
        assert headers["x-request-id"] == "abc-1"
        with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
            call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
            with pytest.raises(grpc.RpcError) as refused:
                call(b"", metadata=(("x-request-id", "abc-2"),), timeout=20)
            assert dict(refused.value.trailing_metadata())["x-request-id"] == "abc-2"
    lines = [json.loads(JsonFormatter().format(record)) for record in caplog.records if record.name == "serving.access"]
    assert [(line["request_id"], line["api"], line["entrypoint"], line["status"]) for line in lines] == [
        ("abc-1", "predict", "REST", "OK"),
        ("abc-2", "Predict", "GRPC", "INVALID_ARGUMENT"),
    ]
    assert lines[0]["model"] == "rows" and lines[0]["milliseconds"] > 0
    assert lines[1]["error"] == "Missing ModelSpec"


def test_ids_that_are_unsafe_to_log_are_replaced() -> None:
    assert request_id([("other", "x"), ("x-request-id", "7")]) == "7"
    for bad in ("", "a\nb", "x" * 129, b"bytes"):
        identity = request_id([("x-request-id", bad)])
        assert identity != bad and len(identity) == 32


def test_log_format_is_read_from_the_command_line_and_checked() -> None:
    assert log_format(["--port=1", "--log_format=json"]) == "json"
    assert log_format([]) == "text"
    with pytest.raises(TargetError, match="Unknown --log_format 'xml'"):
        configure_logging("xml")


def test_server_logs_json_lines() -> None:
    command = [sys.executable, "-m", "serving.server", "--log_format=json", "--enable_profiler=false"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 255
    line = json.loads(done.stderr.splitlines()[0])
    assert line["level"] == "WARNING" and "enable_profiler has no effect" in line["message"]


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_name_in_a_log_line_cannot_act_on_a_terminal_or_forge_a_line(log_format: str) -> None:
    formatter = JsonFormatter() if log_format == "json" else TextFormatter("%(levelname).1s %(message)s")
    try:
        raise ValueError("\x1b[2J")
    except ValueError:
        record = logging.LogRecord("serving", logging.INFO, "", 0, "model %s", ("a\nI forged\x9b\u202e",), sys.exc_info())
    text = formatter.format(record)
    lines = text.split("\n")
    assert all(map(is_printable, lines))
    if log_format == "json":
        assert json.loads(text)["message"] == "model a\nI forged\x9b\u202e"
    else:
        assert lines[0] == r"I model a\nI forged\x9b\u202e"
        assert lines[-1] == r"ValueError: \x1b[2J"
