"""Files are made in the background by one or two processes, which end with the block, whatever they are doing."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from bundler.errors import TfliteError
from bundler.tflite import exchange, processes
from bundler.tflite.exchange import ConvertedFile, WorkerClient
from bundler.tflite.processes import Processes


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A work folder whose processes hang without answering."""
    (tmp_path / "hanging.py").write_text("import time; time.sleep(600)")
    monkeypatch.setattr(exchange, "_WORKER", "hanging")
    return tmp_path


@pytest.fixture
def plenty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "available_bytes", lambda: float("inf"))
    monkeypatch.setattr("os.cpu_count", lambda: 2)


@pytest.mark.usefixtures("plenty")
def test_float_and_calibrated_files_have_a_process_each(work: Path) -> None:
    made = Processes(work, ["float32", "float16", "int8", "mix"])
    assert made.client("float32") is made.client("float16") is not made.client("int8")
    assert made.client("int8") is made.client("mix")


@pytest.mark.parametrize(("cores", "free"), [(1, float("inf")), (2, 1e9)])
def test_one_process_makes_all_where_there_is_no_room_for_two(
    work: Path, monkeypatch: pytest.MonkeyPatch, cores: int, free: float
) -> None:
    monkeypatch.setattr(processes, "available_bytes", lambda: free)
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    made = Processes(work, ["float32", "int8"])
    assert made.client("float32") is made.client("int8")


@pytest.mark.usefixtures("plenty")
def test_files_are_made_at_the_same_time(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    together = threading.Barrier(2, timeout=20)

    def make(client: WorkerClient, variant: str, float_layers: Sequence[str] = ()) -> ConvertedFile:
        together.wait()  # fails unless both variants are being made
        return ConvertedFile(work / variant, {}, {})

    monkeypatch.setattr(WorkerClient, "make", make)
    with Processes(work, ["float32", "int8"]) as made:
        for variant in ("float32", "int8"):
            made.begin(variant)
        assert [made.made(variant)[0].path.name for variant in ("float32", "int8")] == ["float32", "int8"]


@pytest.mark.usefixtures("plenty")
def test_an_interruption_ends_processes_that_are_at_work(work: Path) -> None:
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt), Processes(work, ["float32", "int8"]) as made:
        for variant in ("float32", "float16", "int8"):
            made.begin(variant)
        raise KeyboardInterrupt
    assert time.monotonic() - began < 30
    with pytest.raises(TfliteError, match="SIGKILL"):
        made.made("float32")
