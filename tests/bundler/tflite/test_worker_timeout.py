"""A TFLite process that does not answer: it is killed, and the error says what it was doing and where its log is."""

from __future__ import annotations

from pathlib import Path

import pytest

from bundler.errors import TfliteError
from bundler.process.worker import TIMEOUT_ENV
from bundler.tflite import exchange
from bundler.tflite.exchange import Setup, WorkerClient


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WorkerClient:
    """A client whose process hangs without answering, in its own folder `work`."""
    work = tmp_path / "work"
    work.mkdir()
    Setup(("serving_default",)).write(work)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(TIMEOUT_ENV, "0.5")
    (work / "hanging.py").write_text("import time; time.sleep(600)")
    monkeypatch.setattr(exchange, "_WORKER", "hanging")
    return WorkerClient(work)


@pytest.mark.parametrize(
    ("step", "activity"),
    [
        ("int8 converting", "building the int8 file with TensorFlow's TFLite converter"),
        ("int8 running", "running the int8 file with LiteRT"),
    ],
)
def test_the_error_names_the_activity_and_the_log(
    client: WorkerClient, tmp_path: Path, step: str, activity: str
) -> None:
    (tmp_path / "work" / "worker.at").write_text(step)
    with client, pytest.raises(TfliteError) as caught:
        client.make("int8")
    assert caught.value.what.startswith(f"The process {activity} gave no result within 0.5 seconds and was killed.")
    log = Path(str(caught.value.where))
    assert log.parent == tmp_path and log.name.startswith("tfbundle-tflite-int8-")
    assert str(caught.value.fix).endswith("leave int8 out of --tflite") and f"{TIMEOUT_ENV}=SECONDS" in str(caught.value.fix)


def test_the_next_request_starts_a_new_process(client: WorkerClient) -> None:
    with client:
        for _ in range(2):
            with pytest.raises(TfliteError, match="gave no result within"):
                client.layers()
