"""Versions that are incomplete, broken, rolled back or labelled, and the memory of unloaded versions."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import grpc
import pytest

from serving import Client
from serving.client.reload import Reload
from serving.config.model_server import ModelServerConfig, ServedModel
from serving.config.version_policy import AllVersions, Specific
from serving.errors import NotReadyError, RequestError
from serving.protocol.messages import MODEL_SERVICE, serving_message
from serving.server import Server
from serving.server.models.states import ManagerState, wait_until
from tests.serving.server.calls import SECONDS, Publish, call, load, predict_single, serves, state
from tests.serving.server.recordings import MODELS

TWO = MODELS / "rows" / "2"


def statuses(server: Server) -> dict[int, Any]:
    with Client(f"127.0.0.1:{server.grpc_port}") as client:
        return {status.version: status for status in client.status("m")}


def copy_slowly(source: Path, target: Path, pause: float) -> None:
    """Copy file by file, each in two halves, with the source's times, as rsync or a slow disk does."""
    for path in sorted(source.rglob("*")):
        to = target / path.relative_to(source)
        if path.is_dir():
            to.mkdir(parents=True, exist_ok=True)
            continue
        to.parent.mkdir(parents=True, exist_ok=True)
        content = path.read_bytes()
        with to.open("wb") as file:
            file.write(content[: len(content) // 2])
            file.flush()
            time.sleep(pause)
            file.write(content[len(content) // 2 :])
        shutil.copystat(path, to)


def test_folder_that_is_being_copied_is_loaded_when_it_is_complete(base_path: Path) -> None:
    seen: list[ManagerState] = []
    with Server(base_path, poll_seconds=0.05) as server, load(lambda: predict_single(server), threads=1) as answers:
        server.core.board.subscribe(lambda s: seen.append(s.state) if s.version == 2 else None)
        copy_slowly(TWO, base_path / "2", pause=0.3)
        assert serves(server, 2)
        assert wait_until(lambda: answers[-1] == [2, 4, 6, 8], seconds=SECONDS)
    assert seen[:3] == [ManagerState.START, ManagerState.LOADING, ManagerState.AVAILABLE]
    assert all(answer in ([1, 2, 3, 4], [2, 4, 6, 8]) for answer in answers)


def test_stalled_copy_fails_to_load_and_is_loaded_once_it_is_complete(base_path: Path) -> None:
    with Server(base_path, poll_seconds=0.05, settle_seconds=0.05) as server:
        (base_path / "2").mkdir()
        shutil.copy(TWO / "saved_model.pb", base_path / "2")
        assert wait_until(lambda: state(server, 2) is ManagerState.END, seconds=SECONDS)
        assert statuses(server)[2].failed
        assert predict_single(server) == [1, 2, 3, 4]
        shutil.copytree(TWO, base_path / "2", dirs_exist_ok=True)
        assert serves(server, 2)
        assert statuses(server)[2].error_message == ""
        assert predict_single(server) == [2, 4, 6, 8]


def test_broken_version_is_not_loaded_again_until_its_folder_changes(base_path: Path, publish: Publish) -> None:
    states: list[ManagerState] = []
    with Server(base_path, poll_seconds=0.05, settle_seconds=0) as server:
        server.core.board.subscribe(lambda s: states.append(s.state) if s.version == 2 else None)
        folder = publish("2", TWO)
        data = (folder / "saved_model.pb").read_bytes()
        os.truncate(folder / "saved_model.pb", 100)
        assert wait_until(lambda: statuses(server).get(2) is not None and statuses(server)[2].failed, seconds=SECONDS)
        count = len(states)
        time.sleep(0.5)
        assert len(states) == count
        assert "Read less bytes" in statuses(server)[2].error_message
        with pytest.raises(grpc.RpcError, match=r"Specific\(m, 2\)"):
            predict_single(server, version={"value": 2})
        (folder / "saved_model.pb").write_bytes(data)
        assert serves(server, 2)


def test_removing_the_newest_version_rolls_back_without_a_failed_request(base_path: Path, publish: Publish) -> None:
    publish("2", TWO)
    with Server(base_path, poll_seconds=0.05) as server, load(lambda: predict_single(server), threads=2) as answers:
        assert serves(server, 2)
        shutil.rmtree(base_path / "2")
        assert serves(server, 1)
        assert wait_until(lambda: state(server, 2) is ManagerState.END, seconds=SECONDS)
        assert wait_until(lambda: answers[-1] == [1, 2, 3, 4], seconds=SECONDS)
    assert all(answer in ([1, 2, 3, 4], [2, 4, 6, 8]) for answer in answers)


def config(base: Path, versions: tuple[int, ...], **labels: int) -> ModelServerConfig:
    policy = Specific(versions) if versions else AllVersions()
    return ModelServerConfig((ServedModel("m", str(base), policy, labels),))


def reload(server: Server, before: ModelServerConfig, after: ModelServerConfig) -> None:
    change = Reload(f"127.0.0.1:{server.grpc_port}", before, after, {"m": (1, 2)}, timeout=SECONDS)
    change.load()
    change.label()


def test_labels_move_back_and_forth_under_load_without_a_failed_request(base_path: Path, publish: Publish) -> None:
    publish("2", TWO)
    one, two = config(base_path, (1,), stable=1), config(base_path, (2,), stable=2)
    with Server(base_path, poll_seconds=0.05) as server:
        reload(server, config(base_path, (2,)), one)
        with load(lambda: predict_single(server, version_label="stable"), threads=2) as answers:
            for before, after, answer in ((one, two, [2, 4, 6, 8]), (two, one, [1, 2, 3, 4]), (one, two, [2, 4, 6, 8])):
                reload(server, before, after)
                assert wait_until(lambda answer=answer: answers[-1:] == [answer], seconds=SECONDS)
        assert wait_until(lambda: state(server, 1) is ManagerState.END, seconds=SECONDS)
    assert all(answer in ([1, 2, 3, 4], [2, 4, 6, 8]) for answer in answers), answers


def test_label_never_points_at_a_version_that_does_not_serve(base_path: Path, publish: Publish) -> None:
    with Server(base_path, poll_seconds=0.05) as server:
        one = config(base_path, (1,), stable=1)
        reload(server, config(base_path, (1,)), one)
        os.truncate(publish("2", TWO) / "saved_model.pb", 100)
        with pytest.raises(NotReadyError, match="could not be loaded"):
            reload(server, one, config(base_path, (2,), stable=2))
        request = serving_message("ReloadConfigRequest")(config=config(base_path, (1, 2), stable=2).to_proto())
        with pytest.raises(grpc.RpcError, match="Request to assign label to version 2"):
            call(server, MODEL_SERVICE, "HandleReloadConfigRequest", request, "ReloadConfigResponse")
        assert predict_single(server, version_label="stable") == [1, 2, 3, 4]


def test_refused_reload_says_what_to_check(base_path: Path) -> None:
    with Server(base_path, reload_base_path="/") as server:
        new = ModelServerConfig((ServedModel("other", "/nowhere/other"),))
        with pytest.raises(RequestError, match=r"did not accept the config: .*Could not find base path") as caught:
            Reload(f"127.0.0.1:{server.grpc_port}", new, new, {"other": (1,)}, timeout=SECONDS).label()
        assert "--models-dir" in (caught.value.fix or "")
    with Server(base_path) as server:
        with pytest.raises(RequestError, match="outside of") as caught:
            Reload(f"127.0.0.1:{server.grpc_port}", new, new, {"other": (1,)}, timeout=SECONDS).label()
        assert "--reload_base_path=FOLDER" in (caught.value.fix or "")


RELOADS = """
import sys, time
from pathlib import Path
from serving import Client, Server
from serving.server.models.states import wait_until

def rss():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6

base, seen = Path(sys.argv[1]), []
with Server(base, poll_seconds=0, settle_seconds=0) as server, Client(f"127.0.0.1:{server.grpc_port}") as client:
    board, last = server.core.board, 1
    for version in range(2, 22):
        client.predict("big", x=2.0)
        (base / str(last)).rename(base / str(version))
        server.core.look_for_versions()
        assert wait_until(lambda: board.is_available("big", version), seconds=60)
        assert wait_until(lambda: board.get("big", last).state.name == "END", seconds=60)
        last = version
        seen.append(rss())
print(*(round(value) for value in seen))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_of_unloaded_versions_is_returned(tmp_path: Path) -> None:
    """After twenty loads of 20 MB, memory has grown by less than two models since the first loads."""
    import tensorflow as tf

    class Big(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = tf.Variable(tf.random.normal([5_000_000]))

        @tf.function(input_signature=[tf.TensorSpec([], tf.float32, name="x")])
        def sum(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"y": x * tf.reduce_sum(self.weight)}

    model = Big()
    tf.saved_model.save(model, str(tmp_path / "big" / "1"), signatures={"serving_default": model.sum})
    command = [sys.executable, "-c", RELOADS, str(tmp_path / "big")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    megabytes = list(map(int, done.stdout.split()))
    assert len(megabytes) == 20
    assert max(megabytes[10:]) - max(megabytes[:3]) < 45, megabytes
