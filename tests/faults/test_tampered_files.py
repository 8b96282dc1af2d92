"""A byte of a served model that changed on the way: the version is not loaded, and the error names the file."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bundler.bundle.manifest import Manifest, hash_files
from serving.client.client import Client
from serving.protocol.status import StatusError
from serving.server import Server
from serving.server.models.states import ManagerState, wait_until
from serving.server.servables.bundle_files import check_recorded

FLIPS = 50


@pytest.fixture
def bundle(small_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small_bundle, tmp_path / "bundle"))


@pytest.fixture
def version(bundle: Path) -> Path:
    return bundle / "models" / "mlp" / "1"


def flip(file: Path, position: int, bit: int = 0) -> None:
    data = bytearray(file.read_bytes())
    data[position] ^= 1 << bit
    file.write_bytes(data)


def test_an_intact_version_passes(version: Path) -> None:
    check_recorded(str(version))


def test_every_flipped_bit_of_the_graph_is_found(version: Path) -> None:
    """Half of these were served before, with other answers or none."""
    file = version / "saved_model.pb"
    draw = random.Random(0)
    for _ in range(FLIPS):
        before = file.read_bytes()
        flip(file, draw.randrange(len(before)), draw.randrange(8))
        with pytest.raises(StatusError, match=r"DATA_LOSS: models/mlp/1/saved_model\.pb is not the file that was built"):
            check_recorded(str(version))
        file.write_bytes(before)
    check_recorded(str(version))


def test_a_server_does_not_serve_a_tampered_graph(bundle: Path, version: Path) -> None:
    flip(version / "saved_model.pb", (version / "saved_model.pb").stat().st_size // 2)
    with pytest.raises(StatusError, match=r"DATA_LOSS: models/mlp/1/saved_model\.pb is not the file that was built"):
        Server(bundle).start()


def test_the_base_path_of_a_bundle_is_checked_like_the_bundle(version: Path) -> None:
    flip(version / "saved_model.pb", -1)
    with pytest.raises(StatusError, match="DATA_LOSS"):
        Server(version.parent).start()


@pytest.mark.parametrize("name", ["variables/variables.index", "variables/variables.data-00000-of-00001"])
def test_tampered_variables_are_found(version: Path, name: str) -> None:
    flip(version / name, -1)
    with pytest.raises(StatusError, match=f"DATA_LOSS: models/mlp/1/{name} is not the file that was built"):
        check_recorded(str(version))


@pytest.mark.parametrize("name", ["saved_model.pbtxt", "model.tflite", "variables/more", "assets/vocab.txt"])
def test_a_file_that_was_added_is_found(version: Path, name: str) -> None:
    (version / name).parent.mkdir(exist_ok=True)
    (version / name).write_text("x")
    with pytest.raises(StatusError, match=r"it is not listed in bundle\.json"):
        check_recorded(str(version))


def test_batching_parameters_may_be_added_by_hand(version: Path) -> None:
    (version / "batching_params.pbtxt").write_text("")
    check_recorded(str(version))


def test_a_file_that_is_missing_or_shorter_is_found(version: Path) -> None:
    file = version / "saved_model.pb"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(StatusError, match=r"it has \d+ bytes instead of \d+"):
        check_recorded(str(version))
    file.unlink()
    with pytest.raises(StatusError, match="No such file"):
        check_recorded(str(version))


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"files": []}', '{"files": {"a": 1}}', "[" * 100_000, "\x00"])
def test_a_damaged_bundle_json_is_data_loss_and_no_traceback(bundle: Path, version: Path, text: str) -> None:
    (bundle / "bundle.json").write_text(text)
    with pytest.raises(StatusError, match=r"DATA_LOSS: .*bundle\.json is damaged"):
        check_recorded(str(version))


def test_a_version_that_bundle_json_does_not_list_is_refused(bundle: Path, version: Path) -> None:
    shutil.copytree(version, bundle / "models" / "mlp" / "7")
    with pytest.raises(StatusError, match="FAILED_PRECONDITION: models/mlp/7 is not listed"):
        check_recorded(str(bundle / "models" / "mlp" / "7"))


def test_a_folder_without_a_bundle_is_not_checked(version: Path, tmp_path: Path) -> None:
    alone = Path(shutil.copytree(version, tmp_path / "models" / "other" / "1"))
    (alone / "saved_model.pbtxt").write_text("x")
    check_recorded(str(alone))


@pytest.fixture
def running(bundle: Path) -> Iterator[Server]:
    with Server(bundle, poll_seconds=0.1, settle_seconds=0.0) as server:
        yield server


def answer(server: Server) -> list[float]:
    with Client(f"127.0.0.1:{server.grpc_port}") as client:
        answers: list[float] = client.predict("mlp", x=np.ones((1, 4), np.float32))["y"].tolist()
        return answers


def state_of(server: Server, number: int) -> ManagerState | None:
    state = server.core.board.get("mlp", number)
    return state.state if state else None


def error_of(server: Server, number: int) -> str:
    state = server.core.board.get("mlp", number)
    return str(state.error) if state else ""


def add_version(bundle: Path, version: Path, number: int) -> Manifest:
    """Copy version 1 under another number, and return the manifest that lists it; bundle.json is left as it is."""
    target = bundle / "models" / "mlp" / str(number)
    shutil.copytree(version, bundle / "staging")
    (bundle / "staging").rename(target)
    manifest = Manifest.read(bundle / "bundle.json")
    files = hash_files(bundle, [path for path in target.rglob("*") if path.is_file()])
    manifest = manifest.with_version("mlp", number, manifest.models["mlp"][1])
    return replace(manifest, files={**manifest.files, **files})


def test_a_tampered_new_version_leaves_the_old_one_serving(bundle: Path, version: Path, running: Server) -> None:
    before = answer(running)
    manifest = add_version(bundle, version, 2)
    flip(bundle / "models" / "mlp" / "2" / "saved_model.pb", -1)
    (bundle / "bundle.json").write_bytes(manifest.to_bytes())
    assert wait_until(lambda: "DATA_LOSS: models/mlp/2/saved_model.pb" in error_of(running, 2), seconds=60)
    assert answer(running) == before


def test_a_version_that_is_being_published_is_waited_for(bundle: Path, version: Path, running: Server) -> None:
    """The version's folder appears before bundle.json is replaced; the journal says that the publication is in progress."""
    (bundle / ".staging-x").mkdir()
    (bundle / ".staging-x" / "journal.json").write_text("[]")
    manifest = add_version(bundle, version, 2)
    assert wait_until(lambda: state_of(running, 2) is ManagerState.LOADING, seconds=60)
    time.sleep(0.5)
    assert state_of(running, 2) is ManagerState.LOADING
    (bundle / "bundle.json").write_bytes(manifest.to_bytes())
    assert wait_until(lambda: state_of(running, 2) is ManagerState.AVAILABLE, seconds=60)


def test_a_refused_version_is_tried_again_when_bundle_json_changes(bundle: Path, version: Path, running: Server) -> None:
    manifest = add_version(bundle, version, 2)
    assert wait_until(lambda: state_of(running, 2) is ManagerState.END, seconds=60)
    (bundle / "bundle.json").write_bytes(manifest.to_bytes())
    assert wait_until(lambda: state_of(running, 2) is ManagerState.AVAILABLE, seconds=60)


@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data + b"x"])
def test_a_large_model_is_compared_by_size_alone(
    bundle: Path, version: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[bytes], bytes]
) -> None:
    monkeypatch.setattr("serving.server.servables.bundle_files._MOST_VARIABLE_BYTES", 10)
    shard = version / "variables" / "variables.data-00000-of-00001"
    flip(shard, -1)
    check_recorded(str(version))  # TensorFlow's own checksums find this
    flip(shard, -1)
    shard.write_bytes(change(shard.read_bytes()))
    with pytest.raises(StatusError, match="bytes instead of"):
        check_recorded(str(version))
