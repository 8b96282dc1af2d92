"""Waiting for AVAILABLE, against a server whose models are late, broken, or not of that version."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from serving.errors import LaunchError, NotReadyError
from serving.launch.ready import wait_until_available
from tests.serving.servers import Ports, small_server


@pytest.fixture(scope="module")
def ports() -> Iterator[Ports]:
    with small_server() as ports:
        yield ports


def wait(ports: Ports, versions: dict[str, tuple[int, ...]], seconds: float = 20.0) -> None:
    wait_until_available(ports.grpc_target, versions, seconds=seconds, ended=lambda: None)


def test_every_version_of_every_model(ports: Ports) -> None:
    wait(ports, {"late": (1,), "affine": (1, 2), "echo": (7,)})


def test_another_version_does_not_do(ports: Ports) -> None:
    with pytest.raises(NotReadyError, match=r"version 7 was not ready within 0\.\d+ s: .*version 7 of model") as caught:
        wait(ports, {"affine": (1, 7)}, 0.5)
    assert "version 1" not in str(caught.value)


def test_a_version_that_cannot_be_loaded_is_named(ports: Ports) -> None:
    with pytest.raises(NotReadyError, match=r"broken version 1 could not be loaded: .*saved_model\.pb is damaged"):
        wait(ports, {"affine": (1,), "broken": (1,)})


def test_nobody_answers() -> None:
    with pytest.raises(NotReadyError, match=r"No connection to 127\.0\.0\.1:9"):
        wait_until_available("127.0.0.1:9", {"m": (1,)}, seconds=0.3, ended=lambda: None)


def test_a_server_that_has_ended_is_not_waited_for() -> None:
    with pytest.raises(LaunchError, match="it is gone"):
        wait_until_available("127.0.0.1:9", {"m": (1,)}, seconds=20, ended=lambda: LaunchError("it is gone"))
