"""Every recorded request to the servers A, B, C and E of the recordings, against a server of ours with the same flags."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import grpc
import pytest

from serving.server import Server, parse_flags
from tests.serving.server.known_differences import KNOWN
from tests.serving.server.recordings import (
    IN_COMPANY,
    META,
    RECORDED,
    ROWS,
    Row,
    grpc_differences,
    placed,
    rest_differences,
    rows,
    send_grpc,
    send_rest,
)  # fmt: skip

SERVERS = ("A", "B", "C", "E")

Running = Callable[[str], tuple[Server, grpc.Channel]]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Starts the server of a letter when it is first asked for."""
    folder = tmp_path_factory.mktemp("run")
    for name, text in META["config_files"].items():
        (folder / name).write_text(placed(text, RECORDED))
    started: dict[str, tuple[Server, grpc.Channel]] = {}
    with ExitStack() as stack:

        def run(letter: str) -> tuple[Server, grpc.Channel]:
            if letter not in started:
                server = stack.enter_context(Server(_options(letter, folder)))
                channel = stack.enter_context(grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}"))
                started[letter] = (server, channel)
            return started[letter]

        yield run


def _options(letter: str, folder: Path) -> object:
    flags = [flag.replace("=run/", f"={folder}/") for flag in META["servers"][letter].split()]
    return replace(parse_flags(flags), grpc_port=0, rest_port=0)


def alone(kind: str) -> list[Row]:
    return [row for letter in SERVERS for row in rows(letter, kind) if row["id"] not in IN_COMPANY]


def check(row: Row, differences: list[str]) -> None:
    if row["id"] in KNOWN:
        assert differences, f"{row['id']} is answered as recorded: take it out of known_differences.py"
    else:
        assert not differences, "\n".join(differences)


@pytest.mark.parametrize("row", alone("rest"), ids=lambda row: row["id"])
def test_rest_request_is_answered_as_recorded(row: Row, running: Running) -> None:
    server, _ = running(row["server"])
    assert server.rest_port is not None
    check(row, rest_differences(row, send_rest(server.rest_port, row), RECORDED))


@pytest.mark.parametrize("row", alone("grpc"), ids=lambda row: row["id"])
def test_grpc_request_is_answered_as_recorded(row: Row, running: Running) -> None:
    _, channel = running(row["server"])
    check(row, grpc_differences(row, send_grpc(channel, row, RECORDED), RECORDED))


def test_every_known_difference_is_a_recording() -> None:
    assert KNOWN.keys() <= {row["id"] for row in ROWS}
