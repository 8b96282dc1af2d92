"""The recordings of server D: versions that come and go, reloads, labels and policies, in the recorded order.

The test triggers the scans of the file system, so that the sequence does not depend on time: the server must pass through
each recorded status, at the latest after one scan.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from serving.server import Server, parse_flags
from serving.server.models.states import ManagerState, ServableState, wait_until
from tests.serving.server.known_differences import KNOWN
from tests.serving.server.recordings import (
    META,
    MODELS,
    ROWS,
    GrpcAnswer,
    Row,
    differences,
    grpc_differences,
    placed,
    send_grpc,
)

STATUS = ("/GetModelStatus", "/v1/models/m")
SECONDS = 20.0


def _add(base: Path, version: str, model: str) -> None:
    """Add a version by renaming a complete folder into place."""
    staging = base / "life" / f"staging-{version}"
    shutil.copytree(MODELS / model, staging)
    staging.rename(base / "life" / "m" / version)


def _remove(base: Path, *versions: str) -> None:
    for version in versions:
        shutil.rmtree(base / "life" / "m" / version)


def _add_folders(base: Path) -> None:
    _add(base, "007", "rows/2")
    for name in ("-3", "abc", "1.5"):
        (base / "life" / "m" / name).mkdir()


def _add_first_two(base: Path) -> None:
    _add(base, "1", "rows/1")
    _add(base, "2", "rows/2")


STEPS: dict[str, Callable[[Path], None]] = {
    "add version 2": lambda base: _add(base, "2", "rows/2"),
    "add non-version dirs": _add_folders,
    "remove 007": lambda base: _remove(base, "007"),
    "add broken version 8": lambda base: _add(base, "8", "broken/1"),
    "remove broken version 8": lambda base: _remove(base, "8"),
    "remove all versions": lambda base: _remove(base, "1", "2"),
    "re-add 1,2": _add_first_two,
}
"""The recorded steps by their texts."""


class History:
    """The combinations of states that a model's versions passed through, in order."""

    def __init__(self, server: Server, name: str) -> None:
        self.name = name
        self.states: dict[int, ServableState] = {}
        self.seen: list[dict[int, Any]] = []
        self.at = 0
        for state in server.core.board.versions(name):
            self._note(state)
        server.core.board.subscribe(self._note)

    def _note(self, state: ServableState) -> None:
        if state.name == self.name:
            self.states[state.version] = state
            self.seen.append({version: (s.state, str(s.error or "")) for version, s in self.states.items()})

    def reaches(self, wanted: dict[int, Any]) -> bool:
        """Return whether the versions were in these states since the last states that were found."""
        for index in range(self.at, len(self.seen)):
            if self.seen[index] == wanted:
                self.at = index
                return True
        return False


class Player:
    """Sends recordings to one server, one after the other."""

    def __init__(self, base: Path) -> None:
        self.base = base
        options = parse_flags(["--model_base_path=x", "--max_num_load_retries=0"])
        config = base / "d.config"
        config.write_text(placed(META["config_files"]["d.config"], base))
        self.server = Server(
            # The real server loads every path that a reload names.
            replace(options, model_config_file=str(config), poll_seconds=0, grpc_port=0, rest_port=0, reload_base_path="/")
        )

    def __enter__(self) -> Player:
        self.server.start()
        self.channel = grpc.insecure_channel(f"127.0.0.1:{self.server.grpc_port}")
        self.history = History(self.server, "m")
        self.pool = ThreadPoolExecutor(1)
        return self

    def __exit__(self, *_: object) -> None:
        self.pool.shutdown()
        self.channel.close()
        self.server.stop()

    def differences(self, row: Row) -> list[str]:
        if row["kind"] == "step":
            STEPS[row["text"]](self.base)
            return []
        wanted = _recorded_states(row, self.base)
        if wanted:
            found = self.wait_for(wanted)
            lasting = {state for state, _ in wanted.values()} <= {ManagerState.AVAILABLE, ManagerState.END}
            if found or not lasting or self.history.seen[-1] != wanted:
                return found
        if row["kind"] == "rest":
            return differences(row, self.server, self.channel, self.base)
        return grpc_differences(row, self._call(row), self.base)

    def wait_for(self, wanted: dict[int, Any]) -> list[str]:
        """Wait until the model has passed through these states. Return the difference, empty if it has."""
        if not self.history.reaches(wanted):
            self.server.core.look_for_versions()
            wait_until(lambda: self.history.reaches(wanted), seconds=SECONDS)
        reached = self.history.seen[self.history.at] == wanted
        return [] if reached else [f"states {self.history.seen[self.history.at:]}\n  recorded {wanted}"]

    def _call(self, row: Row) -> GrpcAnswer:
        """Call gRPC, and scan the file system meanwhile, as a reload may wait for a new model."""
        answer: Future[GrpcAnswer] = self.pool.submit(send_grpc, self.channel, row, self.base)
        while True:
            try:
                return answer.result(timeout=0.5)
            except FutureTimeoutError:
                self.server.core.look_for_versions()


def _recorded_states(row: Row, base: Path) -> dict[int, Any]:
    """Return the states in a recorded status of model m; empty if the request is another one."""
    if row["kind"] == "grpc" and row["method"].endswith(STATUS[0]) and row["status_code"] == "OK":
        response = row["response"]
    elif row["kind"] == "rest" and row["path"] == STATUS[1]:
        response = json.loads(row["response_body"])
    else:
        return {}
    return {
        int(each["version"]): (ManagerState[each["state"]], _error(each["status"], base))
        for each in response["model_version_status"]
    }


def _error(status: dict[str, str], base: Path) -> str:
    code = status.get("error_code", "OK")
    return "" if code == "OK" else f"{code}: {placed(status['error_message'], base)}"


@pytest.mark.parametrize("sequence", ["D1", "D2"])
def test_life_cycle_of_a_model_is_as_recorded(sequence: str, tmp_path: Path) -> None:
    (tmp_path / "models").symlink_to(MODELS)
    (tmp_path / "life" / "m").mkdir(parents=True)
    (tmp_path / "life" / "emptydir").mkdir()
    _add(tmp_path, "1", "rows/1")
    wrong: dict[str, list[str]] = {}
    with Player(tmp_path) as player:
        if sequence == "D2":  # was recorded right after version 2 had replaced version 1
            _add(tmp_path, "2", "rows/2")
            assert not player.wait_for({1: (ManagerState.END, ""), 2: (ManagerState.AVAILABLE, "")})
        for row in ROWS:
            if row.get("seq") == sequence:
                found = player.differences(row)
                if found:
                    wrong[row["id"]] = found
    unexpected = {key: found for key, found in wrong.items() if key not in KNOWN}
    assert not unexpected, "\n".join(f"{key}: {' '.join(found)}" for key, found in unexpected.items())
    listed = {row["id"] for row in ROWS if row.get("seq") == sequence} & KNOWN.keys()
    assert listed == wrong.keys(), "answered as recorded: remove it from known_differences.py"
