"""Model configs: which are refused, and what is applied nevertheless."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import pytest

from serving.protocol.messages import serving_message
from serving.protocol.status import Code, StatusError
from serving.server import Server
from serving.server.models.states import wait_until
from tests.serving.server.recordings import MODELS

LOGGING = {"log_collector_config": {"type": "file", "filename_prefix": "/logs/m"}, "sampling_config": {"sampling_rate": 1}}
ROWS = MODELS / "rows"


@pytest.fixture(scope="module")
def running() -> Iterator[Server]:
    with Server(ROWS) as server:
        yield server


@pytest.fixture
def server(running: Server) -> Server:
    """A server that has only the model `rows`."""
    running.core.reload(models(rows=ROWS))
    return running


def models(**base_paths: str | Path) -> Any:
    config = serving_message("ModelServerConfig")()
    for name, base_path in base_paths.items():
        config.model_config_list.config.add(name=name, base_path=str(base_path), model_platform="tensorflow")
    return config


def refusal(server: Server, config: Any) -> str:
    with pytest.raises(StatusError) as caught:
        server.core.reload(config)
    assert caught.value.code is Code.INVALID_ARGUMENT
    return caught.value.message


def test_logging_config_is_refused_after_the_models_are_applied(server: Server) -> None:
    """The real binary has no request logger (core/server_request_logger.cc). Here, --log_requests logs requests."""
    config = models(rows=ROWS, n=ROWS)
    config.model_config_list.config[1].logging_config.MergeFrom(serving_message("LoggingConfig")(**LOGGING))
    assert refusal(server, config) == "No request-logger-creator provided."
    assert server.core.board.is_available("n", 2)


def test_model_that_is_still_being_unloaded_is_added_again(server: Server) -> None:
    server.core.reload(models(rows=ROWS, n=ROWS))
    with futures.ThreadPoolExecutor(1) as pool:
        with server.core.servable(serving_message("ModelSpec")(name="n")):
            server.core.reload(models(rows=ROWS))
            added = pool.submit(server.core.reload, models(rows=ROWS, n=ROWS))
            assert wait_until(lambda: "n" in server.core.models(), seconds=10)
            with pytest.raises(futures.TimeoutError):
                added.result(timeout=0.5)  # it waits for the unloading, which waits for this block
        added.result(timeout=30)
    assert server.core.board.is_available("n", 2)


def test_logging_config_ends_the_start(base_path: Path, tmp_path: Path) -> None:
    file = tmp_path / "models.config"
    file.write_text(
        f'model_config_list {{ config {{ name: "m" base_path: "{base_path}" model_platform: "tensorflow" '
        "logging_config { } } }"
    )
    server = Server(file)
    with pytest.raises(StatusError, match=r"^INVALID_ARGUMENT: No request-logger-creator provided\.$"):
        server.start()
    assert [state.version for state in server.core.board.versions("m")] == [1]


def test_new_model_without_requested_versions_is_refused(server: Server) -> None:
    """The real server waits for ever (sources/storage_path/file_system_storage_path_source.cc)."""
    config = models(rows=ROWS, n=ROWS)
    config.model_config_list.config[1].model_version_policy.specific.SetInParent()
    assert refusal(server, config) == "No specific versions requested for servable n."


def test_base_path_may_be_a_file_uri(server: Server) -> None:
    server.core.reload(models(rows=ROWS, n=f"file://{ROWS}", o=f"file://host{ROWS}"))
    assert server.core.board.is_available("n", 2)
    assert server.core.board.is_available("o", 2)


@pytest.mark.parametrize("base_path_of_n", ["gs://bucket/n", "s3://bucket/n", "My.9://n", "FILE:///n"])
def test_base_path_with_another_scheme_is_not_found(server: Server, base_path_of_n: str) -> None:
    scheme = base_path_of_n.partition(":")[0]
    assert refusal(server, models(rows=ROWS, n=base_path_of_n)) == (
        f"Could not find base path {base_path_of_n} for servable n with error UNIMPLEMENTED: File system scheme "
        f"'{scheme}' not implemented (file: '{base_path_of_n}'); this server reads local folders only"
    )


@pytest.mark.parametrize("base_path_of_n", ["n", "9://n", "a-b://n", "://n", "file:/n", ""])
def test_base_path_without_a_scheme_must_be_absolute(server: Server, base_path_of_n: str) -> None:
    assert refusal(server, models(rows=ROWS, n=base_path_of_n)) == (
        f"Expected model n to have an absolute path or URI; got base_path()={base_path_of_n}"
    )


@pytest.mark.parametrize("base_path_of_n", ["file://", "file://n", "file:///nowhere/n"])
def test_missing_base_path_is_reported_with_its_uri(server: Server, base_path_of_n: str) -> None:
    assert refusal(server, models(rows=ROWS, n=base_path_of_n)) == (
        f"Could not find base path {base_path_of_n} for servable n with error NOT_FOUND: {base_path_of_n} not found"
    )


def test_start_waits_for_a_bucket_and_says_why_it_cannot_be_read() -> None:
    command = [sys.executable, "-m", "serving.server", "--model_base_path=gs://bucket/n"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert "Could not find base path gs://bucket/n" in (line := process.stderr.readline())
    assert "reads local folders only" in line
    process.send_signal(signal.SIGTERM)
    _, rest = process.communicate(timeout=20)
    assert process.returncode == 0, rest
