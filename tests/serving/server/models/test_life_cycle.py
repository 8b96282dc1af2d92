"""Versions of a running server: replaced under load, drained, broken, labelled and reloaded."""

from __future__ import annotations

import os
import shutil
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import grpc
import pytest

from serving.protocol.messages import MODEL_SERVICE, serving_message
from serving.server import Server
from serving.server.models.states import ManagerState, wait_until
from tests.serving.server.calls import (
    SECONDS,
    SINGLE,
    Publish,
    call,
    load,
    post,
    predict_single,
    serves,
    state,
    turns_for,
)
from tests.serving.server.recordings import MODELS


@pytest.mark.sample(2)
@pytest.mark.parametrize("interface", ["rest", "grpc"])
def test_new_version_replaces_the_old_without_a_failed_request(
    interface: str, base_path: Path, publish: Publish
) -> None:
    send = {
        "rest": lambda: post(server, "m:predict", SINGLE)["predictions"][0],
        "grpc": lambda: predict_single(server),
    }[interface]
    with Server(base_path, poll_seconds=0.05) as server, load(send, threads=3) as answers:
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


def test_version_is_unloaded_only_after_its_last_request(spinners: Path, tmp_path: Path) -> None:
    base = tmp_path / "m"
    shutil.copytree(spinners / "1", base / "1")
    answers: list[Any] = []
    turns = turns_for(3.0)
    with Server(base, poll_seconds=0.05, settle_seconds=0) as server:
        slow = threading.Thread(target=lambda: answers.append(post(server, "m:predict", {"inputs": turns})))
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


BROKEN = {
    "truncated graph": lambda path: os.truncate(path / "saved_model.pb", 1000),
    "no graph": lambda path: (path / "saved_model.pb").unlink(),
    "no variables": lambda path: shutil.rmtree(path / "variables"),
    "truncated variables": lambda path: os.truncate(path / "variables" / "variables.data-00000-of-00001", 5),
    "not a folder": lambda path: (shutil.rmtree(path), path.write_text("x")),
}


@pytest.mark.sample(2)
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


def test_failed_load_is_repeated(base_path: Path, publish: Publish) -> None:
    with Server(base_path, poll_seconds=0, max_load_retries=100, load_retry_seconds=0.05) as server:
        folder = publish("2", MODELS / "rows" / "2")
        graph = folder / "saved_model.pb"
        data = graph.read_bytes()
        graph.write_bytes(data[:1000])
        server.core.look_for_versions()
        assert wait_until(lambda: state(server, 2) is ManagerState.LOADING, seconds=SECONDS)
        time.sleep(0.2)
        assert state(server, 2) is ManagerState.LOADING
        graph.write_bytes(data)
        assert serves(server, 2)
        assert predict_single(server) == [2, 4, 6, 8]


def test_last_version_is_unloaded_when_its_folder_is_removed(base_path: Path, publish: Publish) -> None:
    """As in file_system_storage_path_source.cc, which `servable_versions_always_present` alone keeps from unloading it."""
    with Server(base_path, poll_seconds=0) as server:
        shutil.rmtree(base_path / "1")
        server.core.look_for_versions()
        assert wait_until(lambda: state(server, 1) is ManagerState.END, seconds=SECONDS)
        with pytest.raises(grpc.RpcError, match=r"Servable not found for request: Latest\(m\)"):
            predict_single(server)
        with urllib.request.urlopen(f"http://127.0.0.1:{server.rest_port}/v1/models/m", timeout=SECONDS) as answer:
            assert b'"state": "END"' in answer.read()
        publish("2", MODELS / "rows" / "2")
        server.core.look_for_versions()
        assert serves(server, 2)


def test_last_version_stays_with_servable_versions_always_present(
    base_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Server(base_path, poll_seconds=0, versions_always_present=True) as server:
        shutil.rmtree(base_path / "1")
        server.core.look_for_versions()
        time.sleep(0.3)
        assert predict_single(server) == [1, 2, 3, 4]
    assert "Refusing to unload all versions for Servable: m" in caplog.text


@pytest.mark.sample(2)
@pytest.mark.parametrize("replacement", ["nothing", "a file"])
def test_versions_stay_while_the_base_path_cannot_be_read(replacement: str, base_path: Path) -> None:
    with Server(base_path, poll_seconds=0) as server:
        base_path.rename(base_path.with_name("away"))
        if replacement == "a file":
            base_path.write_text("x")
        server.core.look_for_versions()
        time.sleep(0.3)
        assert predict_single(server) == [1, 2, 3, 4]


def _config(base_path: Path, extra: str) -> str:
    return (
        f'model_config_list {{ config {{ name: "m" base_path: "{base_path}" model_platform: "tensorflow" {extra} }} }}'
    )


BOTH = "model_version_policy { all {} }"


def test_labels_work_after_a_cold_start_and_follow_the_config_file(
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
    with Server(base_path, poll_seconds=0.05, reload_base_path=str(MODELS)) as server:
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
