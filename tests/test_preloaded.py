"""A forked process differs from one that is started afresh in nothing but the time it takes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import preloaded, requirements
from tests.serving.processes import server_process
from tests.serving.server.recordings import MODELS

requirements.require(sys.platform == "linux", "Linux: elsewhere, a process cannot become the child of another")

ECHO = """
import atexit, json, os, sys
atexit.register(lambda: print("at exit"))
assert "tensorflow" in sys.modules
print(json.dumps([sys.argv[1:], os.getcwd(), sys.path[0], os.environ.get("MARK"), sys.stdin.read(), __name__, os.getppid()]))
print("to stderr", file=sys.stderr)
sys.exit(7)
"""


@pytest.fixture(autouse=True, scope="module")
def forked() -> Iterator[None]:
    with preloaded.preloaded():
        yield


@pytest.fixture
def echo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the command of a module that says how it was started."""
    (tmp_path / "echo_of_start.py").write_text(ECHO)
    monkeypatch.setattr(preloaded, "MODULES", (*preloaded.MODULES, "echo_of_start"))
    return [sys.executable, "-m", "echo_of_start"]


def test_process_gets_its_arguments_folder_environment_and_streams(echo: list[str], tmp_path: Path) -> None:
    environment = {**os.environ, "MARK": "\udcff ä"}
    done = subprocess.run(
        [*echo, "a", "-m"], cwd=tmp_path, env=environment, input="hello", capture_output=True, text=True, check=False
    )
    first, last = done.stdout.splitlines()
    folder = str(tmp_path)
    assert json.loads(first) == [["a", "-m"], folder, folder, "\udcff ä", "hello", "__main__", os.getpid()]
    assert last == "at exit"
    assert (done.returncode, done.stderr) == (7, "to stderr\n")


def test_uncaught_error_is_a_traceback_and_exit_code_1(echo: list[str], tmp_path: Path) -> None:
    (tmp_path / "echo_of_start.py").write_text("raise ValueError('wrong')")
    done = subprocess.run(echo, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "Traceback" in done.stderr and done.stderr.endswith("ValueError: wrong\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_signal_is_seen_by_the_caller(echo: list[str], tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "echo_of_start.py").write_text("print('up', flush=True); import time; time.sleep(60)")
    with subprocess.Popen(echo, cwd=tmp_path, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"up\n"
        assert process.poll() is None
        process.send_signal(number)
        assert process.wait(60) == -number


def test_process_reads_the_end_of_its_input_while_others_run(echo: list[str], tmp_path: Path) -> None:
    (tmp_path / "echo_of_start.py").write_text("import sys; sys.stdin.read()")
    with (
        subprocess.Popen(echo, cwd=tmp_path, stdin=subprocess.PIPE) as first,
        subprocess.Popen(echo, cwd=tmp_path, stdin=subprocess.PIPE) as second,
    ):
        assert first.stdin is not None
        first.stdin.close()
        assert first.wait(60) == 0 and second.poll() is None


@pytest.mark.parametrize("options", [{"env": {**os.environ, "TF_ENABLE_ONEDNN_OPTS": "0"}}, {"umask": 0o77}])
def test_process_with_other_variables_or_options_is_started_afresh(
    echo: list[str], tmp_path: Path, options: dict[str, object]
) -> None:
    (tmp_path / "echo_of_start.py").write_text("import sys; print('tensorflow' in sys.modules)")
    done = subprocess.run(echo, cwd=tmp_path, capture_output=True, text=True, check=True, **options)  # type: ignore[call-overload]
    assert done.stdout == "False\n"


@pytest.mark.parametrize("in_new_session", [False, True])
def test_process_gets_a_session_of_its_own_if_asked(echo: list[str], tmp_path: Path, in_new_session: bool) -> None:
    (tmp_path / "echo_of_start.py").write_text("import os; print(os.getsid(0) == os.getpid())")
    done = subprocess.run(
        echo, cwd=tmp_path, start_new_session=in_new_session, capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{in_new_session}\n"


def test_forked_server_answers_and_ends_with_0() -> None:
    with server_process("--model_name=m", f"--model_base_path={MODELS / 'rows'}") as server:
        assert b"tests.preloaded" in Path(f"/proc/{server.pid}/cmdline").read_bytes()
        assert server.terminate() == 0
