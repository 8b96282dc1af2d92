"""Every recorded request to servers A, B, C and E, sent to an embedded server with the same flags."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import grpc
import pytest

from serving.server import Server
from tests.serving.server.known_differences import KNOWN
from tests.serving.server.recordings import (
    IN_COMPANY,
    ROWS,
    Row,
    differences,
    recorded_options,
    rows,
    write_config_files,
)

SERVERS = ("A", "B", "C", "E")

Running = Callable[[str], tuple[Server, grpc.Channel]]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Returns a recorded server by its letter, started at the first use."""
    folder = tmp_path_factory.mktemp("run")
    write_config_files(folder)
    started: dict[str, tuple[Server, grpc.Channel]] = {}
    with ExitStack() as stack:

        def run(letter: str) -> tuple[Server, grpc.Channel]:
            if letter not in started:
                server = stack.enter_context(Server(recorded_options(letter, folder)))
                channel = stack.enter_context(grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}"))
                started[letter] = (server, channel)
            return started[letter]

        yield run


def independent_rows(kind: str) -> list[Row]:
    return [row for letter in SERVERS for row in rows(letter, kind) if row["id"] not in IN_COMPANY]


def assert_as_recorded_unless_known(row: Row, running: Running) -> None:
    found = differences(row, *running(row["server"]))
    if row["id"] in KNOWN:
        assert found, f"{row['id']} is answered as recorded: remove it from known_differences.py"
    else:
        assert not found, "\n".join(found)


@pytest.mark.parametrize("row", independent_rows("rest"), ids=lambda row: row["id"])
def test_rest_request_is_answered_as_recorded(row: Row, running: Running) -> None:
    assert_as_recorded_unless_known(row, running)


@pytest.mark.parametrize("row", independent_rows("grpc"), ids=lambda row: row["id"])
def test_grpc_request_is_answered_as_recorded(row: Row, running: Running) -> None:
    assert_as_recorded_unless_known(row, running)


def test_every_known_difference_is_a_recording() -> None:
    assert KNOWN.keys() <= {row["id"] for row in ROWS}
