"""Versions under load: replaced without a failed request, drained, broken, labelled; and the end of the server."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from serving.errors import ConfigError
from serving.protocol.messages import MODEL_SERVICE, PREDICTION_SERVICE, serving_message
from serving.protocol.status import StatusError
from serving.server import Server
from serving.server.models.states import ManagerState, wait_until
from tests.serving.server.recordings import MODELS

SECONDS = 20.0
SINGLE = {"signature_name": "single", "instances": [[1, 2, 3, 4]]}

Publish = Callable[[str, Path], Path]


def post(server: Server, path: str, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(
        f"http://127.0.0.1:{server.rest_port}/v1/models/{path}", json.dumps(body).encode(), method="POST"
    )
    with urllib.request.urlopen(request, timeout=SECONDS) as response:
        return json.load(response)


def call(server: Server, service: str, method: str, request: Any, response: str) -> Any:
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        return channel.unary_unary(
            f"/{service}/{method}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=serving_message(response).FromString,
        )(request, timeout=SECONDS)


def predict_single(server: Server, **spec: Any) -> list[float]:
    request = serving_message("PredictRequest")(model_spec={"name": "m", "signature_name": "single", **spec})
    request.inputs["x"].dtype = 1
    request.inputs["x"].tensor_shape.dim.add(size=1)
    request.inputs["x"].tensor_shape.dim.add(size=4)
    request.inputs["x"].float_val.extend([1, 2, 3, 4])
    return list(call(server, PREDICTION_SERVICE, "Predict", request, "PredictResponse").outputs["y"].float_val)


def state(server: Server, version: int) -> ManagerState | None:
    found = server.core.board.get("m", version)
    return found and found.state


def serves(server: Server, version: int) -> bool:
    return wait_until(lambda: state(server, version) is ManagerState.AVAILABLE, seconds=SECONDS)


@contextmanager
def load(request: Callable[[], Any], threads: int) -> Iterator[list[Any]]:
    """Sends requests from several threads as long as the block runs; gives the list of answers and errors."""
    answers: list[Any] = []
    ended = threading.Event()

    def run() -> None:
        while not ended.is_set():
            try:
                answers.append(request())
            except (OSError, grpc.RpcError) as exc:
                answers.append(exc)

    workers = [threading.Thread(target=run) for _ in range(threads)]
    for worker in workers:
        worker.start()
    try:
        yield answers
    finally:
        ended.set()
        for worker in workers:
            worker.join()


@pytest.mark.parametrize("interface", ["rest", "grpc"])
def test_new_version_replaces_the_old_without_a_failed_request(
    interface: str, base_path: Path, publish: Publish
) -> None:
    once = {
        "rest": lambda: post(server, "m:predict", SINGLE)["predictions"][0],
        "grpc": lambda: predict_single(server),
    }[interface]
    with Server(base_path, poll_seconds=0.05) as server, load(once, threads=3) as answers:
        assert wait_until(lambda: len(answers) > 50, seconds=SECONDS)
        publish("2", MODELS / "rows" / "2")
        assert serves(server, 2)
        assert wait_until(lambda: state(server, 1) is ManagerState.END, seconds=SECONDS)
        switched = len(answers)
        assert wait_until(lambda: len(answers) > switched + 50, seconds=SECONDS)
    old, new = [1, 2, 3, 4], [2, 4, 6, 8]
    assert all(answer in (old, new) for answer in answers), [a for a in answers if a not in (old, new)]
    assert answers[0] == old
    assert answers[-1] == new


def test_a_version_is_unloaded_only_after_its_last_request(spinners: Path, tmp_path: Path) -> None:
    base = tmp_path / "m"
    shutil.copytree(spinners / "1", base / "1")
    answers: list[Any] = []
    with Server(base, poll_seconds=0.05, settle_seconds=0) as server:
        slow = threading.Thread(target=lambda: answers.append(post(server, "m:predict", {"inputs": _turns(3.0)})))
        slow.start()
        time.sleep(0.3)
        shutil.copytree(spinners / "2", tmp_path / "staging")
        (tmp_path / "staging").rename(base / "2")
        assert serves(server, 2)
        assert wait_until(lambda: state(server, 1) is ManagerState.UNLOADING, seconds=SECONDS)
        with pytest.raises(urllib.error.HTTPError, match="404"):
            post(server, "m/versions/1:predict", {"inputs": 0})
        assert post(server, "m:predict", {"inputs": 0}) == {"outputs": 2.0}
        assert not answers
        slow.join()
        assert wait_until(lambda: state(server, 1) is ManagerState.END, seconds=SECONDS)
    assert answers == [{"outputs": 1.0}]


_SPEED: list[float] = []


def _turns(seconds: float) -> int:
    """Turns of the slow model that take about this long on this machine."""
    import tensorflow as tf

    if not _SPEED:
        matrix = tf.eye(200)
        start = time.monotonic()
        for _ in range(200):
            matrix = tf.tanh(tf.matmul(matrix, matrix))
        _SPEED.append(200 / (time.monotonic() - start))
    return int(_SPEED[0] * seconds)


BROKEN = {
    "truncated graph": lambda path: os.truncate(path / "saved_model.pb", 1000),
    "no graph": lambda path: (path / "saved_model.pb").unlink(),
    "no variables": lambda path: shutil.rmtree(path / "variables"),
    "truncated variables": lambda path: os.truncate(path / "variables" / "variables.data-00000-of-00001", 5),
    "not a folder": lambda path: (shutil.rmtree(path), path.write_text("x")),
}


@pytest.mark.parametrize("damage", BROKEN)
def test_broken_version_shows_its_error_and_leaves_the_old_one_serving(
    damage: str, base_path: Path, publish: Publish
) -> None:
    with Server(base_path, poll_seconds=0) as server:
        BROKEN[damage](publish("2", MODELS / "rows" / "2"))
        server.core.look_for_versions()
        assert wait_until(lambda: state(server, 2) is ManagerState.END, seconds=SECONDS)
        request = serving_message("GetModelStatusRequest")(model_spec={"name": "m"})
        status = call(server, MODEL_SERVICE, "GetModelStatus", request, "GetModelStatusResponse")
        broken, good = status.model_version_status
        assert (broken.version, broken.state) == (2, ManagerState.END)
        assert broken.status.error_code
        assert broken.status.error_message
        assert (good.version, good.state) == (1, ManagerState.AVAILABLE)
        assert predict_single(server) == [1, 2, 3, 4]


def test_failed_load_is_tried_again(base_path: Path, publish: Publish) -> None:
    with Server(base_path, poll_seconds=0, max_load_retries=100, load_retry_seconds=0.05) as server:
        there = publish("2", MODELS / "rows" / "2")
        graph = there / "saved_model.pb"
        data = graph.read_bytes()
        graph.write_bytes(data[:1000])
        server.core.look_for_versions()
        assert wait_until(lambda: state(server, 2) is ManagerState.LOADING, seconds=SECONDS)
        time.sleep(0.2)
        assert state(server, 2) is ManagerState.LOADING
        graph.write_bytes(data)
        assert serves(server, 2)
        assert predict_single(server) == [2, 4, 6, 8]


def test_last_version_goes_on_serving_when_its_folder_is_gone(base_path: Path) -> None:
    with Server(base_path, poll_seconds=0) as server:
        shutil.rmtree(base_path / "1")
        server.core.look_for_versions()
        time.sleep(0.3)
        assert predict_single(server) == [1, 2, 3, 4]


def _config(base_path: Path, extra: str) -> str:
    return (
        f'model_config_list {{ config {{ name: "m" base_path: "{base_path}" model_platform: "tensorflow" {extra} }} }}'
    )


BOTH = "model_version_policy { all {} }"


def test_labels_survive_a_cold_start_and_move_when_the_config_file_changes(
    base_path: Path, publish: Publish, tmp_path: Path
) -> None:
    publish("2", MODELS / "rows" / "2")
    config = tmp_path / "models.config"
    config.write_text(_config(base_path, f'{BOTH} version_labels {{ key: "stable" value: 1 }}'))
    with Server(config, config_poll_seconds=0.1) as server:
        assert serves(server, 1)
        assert serves(server, 2)
        assert predict_single(server, version_label="stable") == [1, 2, 3, 4]
        assert post(server, "m/labels/stable:predict", SINGLE)["predictions"] == [[1, 2, 3, 4]]
        replacement = tmp_path / "next.config"
        replacement.write_text(_config(base_path, f'{BOTH} version_labels {{ key: "stable" value: 2 }}'))
        replacement.rename(config)
        moved = lambda: predict_single(server, version_label="stable") == [2, 4, 6, 8]  # noqa: E731
        assert wait_until(moved, seconds=SECONDS)
        config.write_text("model_config_list { config { nonsense: 1 } }")
        time.sleep(0.4)
        assert predict_single(server, version_label="stable") == [2, 4, 6, 8]


def test_reload_adds_and_drops_models(base_path: Path) -> None:
    with Server(base_path, poll_seconds=0.05) as server:
        request = serving_message("ReloadConfigRequest")()
        request.config.model_config_list.config.add(
            name="texts", base_path=str(MODELS / "strs"), model_platform="tensorflow"
        )
        request.metric_names.append("/tensorflow/serving/request_count")
        answer = call(server, MODEL_SERVICE, "HandleReloadConfigRequest", request, "ReloadConfigResponse")
        assert answer.status.error_code == 0
        assert answer.metric[0].int64_value_increase == 0
        assert post(server, "texts:predict", {"signature_name": "text_only", "instances": ["a"]}) == {
            "predictions": ["a"]
        }
        assert wait_until(lambda: state(server, 1) is ManagerState.END, seconds=SECONDS)
        with pytest.raises(urllib.error.HTTPError, match="404"):
            post(server, "m:predict", SINGLE)


@contextmanager
def in_a_process(base: Path, *flags: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """`python -m serving.server` with one model, once it listens; gives the process and its REST port."""
    command = [sys.executable, "-m", "serving.server", "--model_name=m", f"--model_base_path={base}", *flags]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    port = 0
    for line in process.stderr:
        if "Exporting HTTP/REST API at:" in line:
            port = int(line.split("at:")[1].split(":")[1].split()[0])
            break
    drained = threading.Thread(target=process.stderr.read)
    drained.start()
    try:
        yield process, port
    finally:
        process.kill()
        process.wait()
        drained.join()
        process.stderr.close()


def test_sigterm_answers_the_requests_under_way_and_refuses_new_ones(spinners: Path) -> None:
    from tests.serving.processes import free_port

    flags = (f"--port={free_port()}", f"--rest_api_port={free_port()}")
    with in_a_process(spinners, *flags) as (process, port):
        url = f"http://127.0.0.1:{port}/v1/models/m:predict"
        body = json.dumps({"inputs": _turns(2.0)}).encode()
        answers: list[Any] = []

        def slow() -> None:
            with urllib.request.urlopen(urllib.request.Request(url, body), timeout=SECONDS) as response:
                answers.append(json.load(response))

        threads = [threading.Thread(target=slow) for _ in range(3)]
        for thread in threads:
            thread.start()
        time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        assert not answers
        with pytest.raises(urllib.error.URLError, match="refused"):
            urllib.request.urlopen(url, b"{}", timeout=SECONDS)
        for thread in threads:
            thread.join()
        assert answers == [{"outputs": 2.0}] * 3
        assert process.wait(SECONDS) == 0


def test_sigterm_ends_a_server_that_still_waits_for_its_model(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "serving.server", f"--model_base_path={tmp_path / 'nothing'}"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert "Could not find base path" in process.stderr.readline()
    process.send_signal(signal.SIGTERM)
    _, rest = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, rest


def test_port_in_use_is_told(base_path: Path) -> None:
    with Server(base_path) as server:
        with pytest.raises(ConfigError, match="gRPC cannot listen"):
            Server(base_path, grpc_port=server.grpc_port).start()
        with pytest.raises(ConfigError, match="REST cannot listen"):
            Server(base_path, rest_port=server.rest_port).start()


def test_nothing_to_serve_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing to serve"):
        Server(tmp_path / "gone")


def test_broken_model_refuses_to_start(base_path: Path) -> None:
    os.truncate(base_path / "1" / "saved_model.pb", 100)
    with pytest.raises(StatusError, match=r"1 servable\(s\) did not become available"):
        Server(base_path).start()


def test_stopping_twice_is_stopping_once(base_path: Path) -> None:
    server = Server(base_path).start()
    server.stop()
    server.stop()
    with pytest.raises(urllib.error.URLError):
        post(server, "m:predict", SINGLE)
