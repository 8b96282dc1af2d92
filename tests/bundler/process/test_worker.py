"""Worker processes: answers, crashes, and processes that do not answer in time."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bundler.errors import UsageError
from bundler.process import worker
from bundler.process.worker import TIMEOUT_ENV, WorkerEndedError, WorkerProcess, WorkerTimeoutError

MODULE = "tests.bundler.process.stubborn_worker"
START_S = 30.0
"""Time for a process to start on a busy machine."""

StartWorker = Callable[[str], WorkerProcess]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "worker.log"


@pytest.fixture
def start(log: Path) -> Iterator[StartWorker]:
    processes: list[WorkerProcess] = []

    def start(mode: str) -> WorkerProcess:
        processes.append(WorkerProcess(MODULE, [mode], log))
        return processes[-1]

    yield start
    for process in processes:
        process.close()


def test_requests_are_answered_in_turn_and_prints_go_to_the_log(start: StartWorker, log: Path) -> None:
    process = start("answer")
    assert process.ask({"do": "answer", "text": "ab"}, START_S)["length"] == 2
    assert process.ask({"do": "answer", "text": "abc"}, START_S)["length"] == 3
    process.close()
    assert log.read_text().count("chatter on standard output") == 2


def test_requests_and_answers_can_be_larger_than_a_pipe(start: StartWorker) -> None:
    answer = start("answer").ask({"do": "answer", "text": "a" * 300_000, "size": 200_000}, START_S)
    assert answer == {"length": 300_000, "text": "é" * 200_000}


def assert_killed_in_time(process: WorkerProcess, request: dict[str, object]) -> None:
    before = time.monotonic()
    with pytest.raises(WorkerTimeoutError, match=r"no answer within 0\.5 seconds"):
        process.ask(request, 0.5)
    assert time.monotonic() - before < 20
    assert process._process.returncode == -signal.SIGKILL


def test_a_worker_that_hangs_is_killed(start: StartWorker, log: Path) -> None:
    process = start("answer")
    process.ask({"do": "answer"}, START_S)
    assert_killed_in_time(process, {"do": "hang"})
    assert worker.last_words(log) == "about to hang"


def test_a_worker_that_hangs_within_a_line_is_killed(start: StartWorker) -> None:
    assert_killed_in_time(start("half"), {"do": "answer"})


def test_a_worker_that_does_not_read_a_large_request_is_killed(start: StartWorker) -> None:
    assert_killed_in_time(start("deaf"), {"do": "answer", "text": "a" * 1_000_000})


def test_the_exit_status_of_a_worker_that_ends_is_reported(start: StartWorker, log: Path) -> None:
    process = start("answer")
    with pytest.raises(WorkerEndedError) as caught:
        process.ask({"do": "exit"}, START_S)
    assert caught.value.status == 7
    assert worker.how_it_ended(7, log) == "ended with exit code 7. Its last output: giving up"
    with pytest.raises(WorkerEndedError):
        process.ask({"do": "answer"}, START_S)


def test_a_worker_that_ends_before_it_reads_is_reported(start: StartWorker) -> None:
    with pytest.raises(WorkerEndedError) as caught:
        start("missing").ask({"do": "answer", "text": "a" * 1_000_000}, START_S)
    assert caught.value.status == 3


def test_a_worker_that_closes_its_output_and_lives_on_is_killed(
    start: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "_EXIT_S", 0.2)
    with pytest.raises(WorkerEndedError) as caught:
        start("close").ask({"do": "answer"}, START_S)
    assert worker.was_killed(caught.value.status)


def test_closing_twice_does_no_harm(start: StartWorker) -> None:
    process = start("answer")
    process.close()
    process.close()


def test_the_end_by_a_signal_is_named_without_the_usual_chatter(log: Path) -> None:
    log.write_text("quantizer: no such loop\nI0000 00:00:1 1 loader.cc:1] chatter\n\n")
    assert worker.how_it_ended(-signal.SIGSEGV, log) == "was ended by SIGSEGV. Its last output: quantizer: no such loop"
    log.write_text("INFO: Created TensorFlow Lite delegate\n")
    assert worker.how_it_ended(1, log) == "ended with exit code 1."


def test_the_timeout_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TIMEOUT_ENV, raising=False)
    assert worker.worker_timeout() == worker.DEFAULT_TIMEOUT_S
    monkeypatch.setenv(TIMEOUT_ENV, "90")
    assert worker.worker_timeout() == 90


@pytest.mark.parametrize("text", ["soon", "0", "-1", "nan", "inf"])
def test_a_wrong_timeout_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TIMEOUT_ENV, text)
    with pytest.raises(UsageError, match=f"{TIMEOUT_ENV} is '{text}'"):
        worker.worker_timeout()


def test_a_module_runs_in_the_folder_of_its_log(log: Path) -> None:
    (log.parent / "here.py").write_text("import os; print(os.getcwd()); raise SystemExit(4)")
    assert worker.run_module("here", [], log) == 4
    assert log.read_text().strip() == str(log.parent)


def test_a_module_that_runs_too_long_is_killed(log: Path) -> None:
    (log.parent / "endless.py").write_text("while True: pass")
    with pytest.raises(subprocess.TimeoutExpired):
        worker.run_module("endless", [], log, timeout_s=0.5)


def test_workers_run_in_this_python(log: Path) -> None:
    (log.parent / "version.py").write_text("import sys; print(sys.executable)")
    worker.run_module("version", [], log)
    assert log.read_text().strip() == sys.executable


def test_events_come_before_the_answer(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    for variables, value in ((None, "7"), ({"OMP_NUM_THREADS": "3"}, "3"), ({"OMP_NUM_THREADS": None}, None)):
        process, told = WorkerProcess(MODULE, ["count"], log, variables), list[object]()
        assert process.ask({"to": 3}, START_S, told.append) == {"variable": value}
        assert process.ask({"to": 0}, START_S, told.append) == {"variable": value}
        assert told == [{"number": 0}, {"number": 1}, {"number": 2}]
        process.close()


def test_a_worker_that_is_stopped_can_end_by_itself(log: Path) -> None:
    process = WorkerProcess(MODULE, ["answer"], log)
    process.ask({"do": "answer"}, START_S)
    process.stop()
    with pytest.raises(WorkerEndedError) as raised:
        process.ask({"do": "answer"}, START_S)
    assert raised.value.status == -signal.SIGTERM
    process.close()
