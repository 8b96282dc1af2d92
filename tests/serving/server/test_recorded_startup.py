"""The recorded starts of tensorflow_model_server: `python -m serving.server` prints the same and ends or goes on likewise."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.serving.processes import free_port
from tests.serving.server.known_differences import KNOWN
from tests.serving.server.recordings import META, RECORDED, Row, placed, rows

STARTED = "Running gRPC ModelServer"
WAITING = ("s_base_missing", "s_base_empty_dir", "s_batch_bad")
"""Starts that go on without a port, because there is no model yet or its load is repeated."""

SECONDS = 60.0

_LOG_PREFIX = re.compile(r"^.*\.cc:\d+\] ")
_PARSER_LOG = "Error parsing text-format"


def _command(row: Row, base: Path) -> list[str]:
    port = free_port()
    arguments = [placed(argument, base).replace("18551", str(port)) for argument in row["args"]]
    if not any(argument.startswith("--port") for argument in arguments):
        arguments.append(f"--port={port}")
    return [sys.executable, "-m", "serving.server", *arguments]


def _wanted_lines(row: Row, base: Path) -> list[str]:
    """Return the recorded lines without time and source file, without duplicates and the lines of protobuf's parser."""
    lines = (_LOG_PREFIX.sub("", placed(line, base)) for line in row["output_lines"] if _PARSER_LOG not in line)
    return list(dict.fromkeys(lines))


def _goes_on(row: Row) -> bool:
    return str(row["exit"]).startswith("running")


def _run(row: Row, folder: Path, base: Path) -> tuple[str, int | str]:
    """Start the server. Return its output, and its exit code or "running"."""
    (folder / "run").mkdir()
    for name, text in {**META["config_files"], **(row["files"] or {})}.items():
        (folder / "run" / name).write_text(placed(text, base))
    output = folder / "output"
    with output.open("wb") as file:
        process = subprocess.Popen(_command(row, base), cwd=folder, stdout=file, stderr=subprocess.STDOUT)
    try:
        if not _goes_on(row):
            process.wait(SECONDS)
        lines = [] if row["id"] in KNOWN else _wanted_lines(row, base)
        _wait(process, output, lines if row["id"] in WAITING else [*lines, STARTED])
        code = process.poll()
        if code is not None:
            return output.read_text(), code
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 0, output.read_text()
        return output.read_text(), "running"
    finally:
        process.kill()
        process.wait()


def _wait(process: subprocess.Popen[bytes], output: Path, lines: list[str]) -> None:
    """Wait until the process has ended, or has printed all lines and then runs for another moment."""
    end = time.monotonic() + SECONDS
    while process.poll() is None and time.monotonic() < end:
        if all(line in output.read_text() for line in lines):
            time.sleep(0.5)
            return
        time.sleep(0.05)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that replaces `{base}`: the recorded models and an empty model."""
    folder = tmp_path_factory.mktemp("base")
    (folder / "models").mkdir()
    for model in (RECORDED / "models").iterdir():
        (folder / "models" / model.name).symlink_to(model)
    (folder / "models" / "empty").mkdir()
    return folder


@pytest.mark.sample(3)
@pytest.mark.parametrize("row", rows(None, "startup"), ids=lambda row: row["id"])
def test_server_starts_as_recorded(row: Row, base: Path, tmp_path: Path) -> None:
    output, outcome = _run(row, tmp_path, base)
    wanted = "running" if _goes_on(row) else row["exit"]
    missing = [line for line in _wanted_lines(row, base) if line not in output]
    if row["id"] in KNOWN:
        assert missing or outcome != wanted, f"{row['id']} is as recorded: remove it from known_differences.py"
    else:
        assert not missing, output
        assert outcome == wanted, output
