"""Configs that would hurt the server: reloads that name any path, files that are not regular ones, models that cannot load."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest

from serving.errors import ConfigError
from serving.protocol.messages import MODEL_SERVICE, serving_message
from serving.protocol.status import StatusError
from serving.server import Server
from serving.server.__main__ import FAILED, main
from serving.server.observability.request_log import RequestLog
from tests.serving.processes import free_port, server_process
from tests.serving.server.recordings import MODELS
from tests.serving.servers import ROOT

SECONDS = 60.0


def config_text(**base_paths: Path) -> str:
    entries = "".join(
        f'config {{ name: "{name}" base_path: "{path}" model_platform: "tensorflow" }} ' for name, path in base_paths.items()
    )
    return f"model_config_list {{ {entries}}}"


def reload(target: str, **base_paths: str) -> None:
    request = serving_message("ReloadConfigRequest")()
    request.config.model_config_list.SetInParent()
    for name, path in base_paths.items():
        request.config.model_config_list.config.add(name=name, base_path=path, model_platform="tensorflow")
    with grpc.insecure_channel(target) as channel:
        call = channel.unary_unary(f"/{MODEL_SERVICE}/HandleReloadConfigRequest")
        call(request.SerializeToString(), timeout=SECONDS)


@dataclass(frozen=True)
class Reloadable:
    """A server of the model `models/own`; `models/beside` and `secret/m` are other models that could be loaded."""

    server: Server
    folder: Path

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.server.grpc_port}"

    @property
    def own(self) -> str:
        return str(self.folder / "models" / "own")

    def refusal(self, **base_paths: str) -> str:
        with pytest.raises(grpc.RpcError) as refused:
            reload(self.target, **base_paths)
        assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
        return str(refused.value.details())


@pytest.fixture(scope="module")
def reloadable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reloadable]:
    folder = tmp_path_factory.mktemp("reload")
    for path in ("models/own", "models/beside", "secret/m"):
        shutil.copytree(MODELS / "rows", folder / path)
    (folder / "models" / "link").symlink_to(folder / "secret" / "m")
    with Server(folder / "models" / "own") as server:
        yield Reloadable(server, folder)


@pytest.mark.parametrize(
    "path",
    ["{folder}/secret/m", "{folder}/models/../secret/m", "{folder}/models/link", "file://{folder}/secret/m",
     "file://host{folder}/secret/m", "{folder}/models/beside/../../secret/m", "/", "/proc/self/root{folder}/secret/m"],
)  # fmt: skip
def test_reload_of_a_path_outside_of_the_models_is_refused(reloadable: Reloadable, path: str) -> None:
    """A model at the path could run operators that read and write files. The models that are served stay."""
    named = path.format(folder=reloadable.folder)
    message = reloadable.refusal(own=reloadable.own, stolen=named)
    assert named in message and "--reload_base_path=FOLDER" in message
    assert reloadable.server.core.board.is_available("own", 2)
    assert not reloadable.server.core.board.versions("stolen")


def test_reload_of_models_beside_the_own_ones_works(reloadable: Reloadable) -> None:
    reload(reloadable.target, own=reloadable.own, beside=f"file://{reloadable.folder}/models/beside")
    assert reloadable.server.core.board.is_available("beside", 2)
    reload(reloadable.target, own=reloadable.own)


def test_reload_is_off_beyond_this_machine_unless_a_folder_is_given(tmp_path: Path) -> None:
    for flag, refused in (("", True), (str(MODELS), False)):
        with Server(MODELS / "rows", host="0.0.0.0", rest_port=None, reload_base_path=flag) as server:
            served = Reloadable(server, tmp_path)
            if refused:
                message = served.refusal(rows=str(MODELS / "rows"))
                assert "is off, because the server listens on 0.0.0.0" in message and "--reload_base_path=FOLDER" in message
            else:
                reload(served.target, rows=str(MODELS / "rows"))
                served.refusal(rows="/etc")


def test_config_of_a_bundle_cannot_name_a_folder_outside_of_it(tmp_path: Path) -> None:
    for name in ("../../secret", "/etc", "..", "a/b"):
        bundle = tmp_path / "bundle"
        (bundle / "models" / "m").mkdir(parents=True, exist_ok=True)
        (bundle / "serving").mkdir(exist_ok=True)
        (bundle / "serving" / "models.config").write_text(config_text(**{name: Path("/models")}))
        with pytest.raises(ConfigError, match="cannot be a folder in models/"):
            Server(bundle).start()


@pytest.mark.sample(4)
@pytest.mark.parametrize("flag", ["model_config_file", "batching_parameters_file", "ssl_config_file", "monitoring_config_file"])
@pytest.mark.parametrize("kind", ["FIFO", "device", "1 TB"])
@pytest.mark.timeout(60)
def test_config_that_is_not_a_regular_file_ends_the_start(
    flag: str, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Opening a FIFO waits for ever, a device has no end, and a large sparse file fills the memory."""
    file = tmp_path / "config"
    if kind == "FIFO":
        os.mkfifo(file)
    elif kind == "device":
        file.symlink_to("/dev/zero")
    else:
        file.touch()
        os.truncate(file, 2**40)
    model = [] if flag == "model_config_file" else [f"--model_base_path={MODELS / 'rows'}"]
    ports = (f"--port={free_port()}", f"--rest_api_port={free_port()}")
    assert main([*model, *ports, f"--{flag}={file}", "--enable_batching"]) == FAILED
    what = {"FIFO": "it is a FIFO, not a regular file", "device": "it is a device", "1 TB": "it has more than 16777216 bytes"}
    assert f"INVALID_ARGUMENT: {file} cannot be read: {what[kind]}" in capsys.readouterr().out


PARTS = {
    "graph": "saved_model.pb",
    "variables' index": "variables/variables.index",
    "variables": "variables/variables.data-00000-of-00001",
    "warm-up": "assets.extra/tf_serving_warmup_requests",
    "asset": "assets/vocabulary.txt",
    "batching parameters": "batching_params.pbtxt",
    "TFLite": "model.tflite",
}


def to_fifo(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.parent.mkdir(exist_ok=True)
    os.mkfifo(path)


@pytest.mark.sample(3)
@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS)
@pytest.mark.timeout(60)
def test_fifo_in_a_version_fails_its_load(part: str, base_path: Path) -> None:
    to_fifo(base_path / "1" / part)
    with pytest.raises(StatusError, match=rf"{re.escape(part)} is a FIFO, not a regular file"):
        Server(base_path, prefer_tflite=True, enable_batching=True, per_model_batching=True).start()


@pytest.mark.timeout(60)
def test_device_or_endless_graph_in_a_version_fails_its_load(base_path: Path) -> None:
    graph = base_path / "1" / "saved_model.pb"
    os.truncate(graph, 2**40)
    with pytest.raises(StatusError, match=r"saved_model.pb has 1099511627776 bytes"):
        Server(base_path).start()
    graph.unlink()
    graph.symlink_to("/dev/zero")
    with pytest.raises(StatusError, match=r"saved_model.pb is a device"):
        Server(base_path).start()


def log_of(path: Path, wanted: str) -> str:
    """Wait until a log has a text, and return the log."""
    end = time.monotonic() + SECONDS
    while wanted not in (text := path.read_text()):
        assert time.monotonic() < end, text
        time.sleep(0.05)
    return text


@pytest.mark.slow
def test_polled_config_that_becomes_a_fifo_or_binary_blocks_neither_the_server_nor_sigterm(tmp_path: Path) -> None:
    """The last good config stays in force, each problem is logged once and briefly, and SIGTERM ends the server as ever."""
    config, log = tmp_path / "models.config", tmp_path / "log"
    good = config_text(rows=MODELS / "rows")
    config.write_text(good)
    flags = (f"--model_config_file={config}", "--model_config_file_poll_wait_seconds=1")
    with log.open("wb") as stderr, server_process(*flags, stderr=stderr) as server:
        config.unlink()
        os.mkfifo(config)
        log_of(log, "it is a FIFO, not a regular file")
        config.unlink()
        config.write_bytes(os.urandom(2_000_000))
        log_of(log, "Failed to read ModelServerConfig file")
        config.write_text(config_text(rows=MODELS / "rows", strs=MODELS / "strs"))
        log_of(log, "{name: strs version: 1}: AVAILABLE")
        config.unlink()
        os.mkfifo(config)
        time.sleep(2.5)
        with urllib.request.urlopen(f"{server.rest_target}/v1/models/rows", timeout=SECONDS) as answer:
            assert b"AVAILABLE" in answer.read()
        started = time.monotonic()
        assert server.terminate() == 0
        assert time.monotonic() - started < 10
    text = log.read_text()
    assert text.count("it is a FIFO") == 2
    assert len(text) < 20_000


@pytest.mark.slow
def test_broken_model_does_not_delay_the_good_ones(tmp_path: Path) -> None:
    """With one thread for loads, the good models are available while the broken one waits to be tried again.

    The ports open only after all first loads, and the start fails in the end, as in the real server.
    """
    config, log = tmp_path / "models.config", tmp_path / "log"
    config.write_text(config_text(broken=MODELS / "broken", good=MODELS / "rows", fine=MODELS / "strs"))
    port = free_port()
    flags = ["--num_load_threads=1", "--max_num_load_retries=1", "--load_retry_interval_micros=4000000"]
    command = [sys.executable, "-m", "serving.server", f"--model_config_file={config}", f"--port={port}", *flags]
    with log.open("wb") as output, subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output) as process:
        log_of(log, "Loading servable: {name: broken version: 1} failed")
        text = log_of(log, "{name: good version: 2}: AVAILABLE") and log_of(log, "{name: fine version: 1}: AVAILABLE")
        assert text.count("{name: broken version: 1} failed") == 1 and "gRPC ModelServer" not in text
        assert process.wait(SECONDS) == FAILED
    assert "Failed to start server. Error: UNKNOWN: 1 servable(s) did not become available: {{{name: broken" in log.read_text()


def test_start_with_too_few_file_descriptors_says_so() -> None:
    limited = (
        "import resource, runpy; resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20)); "
        "runpy.run_module('serving.server', run_name='__main__')"
    )
    command = [sys.executable, "-c", limited, f"--model_base_path={MODELS / 'rows'}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == FAILED
    assert "more files can be opened (Too many open files), and it needs 64" in done.stdout
    assert "ulimit -n" in done.stdout and "Traceback" not in done.stderr


def test_start_with_too_few_threads_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def start(_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("threading.Thread.start", start)
    assert main([f"--model_base_path={MODELS / 'rows'}"]) == FAILED
    assert "only 0 more threads can be started, and it needs 32" in capsys.readouterr().out


def test_start_with_a_path_that_is_not_utf8_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--model_base_path=/models/m\udcff"]) == FAILED
    assert "'/models/m\\udcff' is not UTF-8" in capsys.readouterr().out
    assert main(["--model_config_file=/models/m\udcff"]) == FAILED
    assert "NOT_FOUND: /models/m\\udcff; No such file" in capsys.readouterr().out


def record(log: RequestLog) -> None:
    response = serving_message("PredictResponse")(model_spec={"name": "m"})
    log.write("Predict", serving_message("PredictRequest")(model_spec={"name": "m"}), response)
    log.close()


def test_logged_requests_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    umask = os.umask(0)
    try:
        log = RequestLog(str(tmp_path / "new" / "folder"), 1.0, ())
        record(log)
    finally:
        os.umask(umask)
    assert oct(log.path.stat().st_mode & 0o777) == "0o600" and log.path.stat().st_size > 0
    assert [oct(folder.stat().st_mode & 0o777) for folder in (log.path.parent, tmp_path / "new")] == ["0o700"] * 2


def test_requests_are_not_logged_through_a_link(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A link in place of the file is left alone, also if its target does not exist; a link in place of the folder is an error."""
    folder, victim = tmp_path / "log", tmp_path / "victim"
    victim.write_text("mine")
    log = RequestLog(str(folder), 1.0, ())
    log.path.symlink_to(victim)
    log.path.with_stem(f"{log.path.stem}-1").symlink_to(tmp_path / "nothing")
    record(log)
    assert victim.read_text() == "mine" and not (tmp_path / "nothing").exists()
    assert log.path.name.endswith("-2.tfrecord") and not log.path.is_symlink()
    (tmp_path / "link").symlink_to(folder)
    with pytest.raises(ConfigError, match="it is a symbolic link"):
        RequestLog(str(tmp_path / "link"), 1.0, ())
    swapped = RequestLog(str(tmp_path / "swapped"), 1.0, ())
    swapped.path.parent.rmdir()
    swapped.path.parent.symlink_to(tmp_path)
    record(swapped)
    assert "Requests are not logged to" in caplog.text and not list(tmp_path.glob("*.tfrecord"))


@pytest.fixture
def base_path(tmp_path: Path) -> Path:
    """A base path with version 1 of a small model, which tests may damage."""
    shutil.copytree(MODELS / "rows" / "1", tmp_path / "m" / "1")
    return tmp_path / "m"
