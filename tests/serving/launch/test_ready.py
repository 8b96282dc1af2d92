"""Waiting for AVAILABLE, with a server whose models are late, broken, or of another version."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from serving.errors import LaunchError, NotReadyError
from serving.launch.ready import wait_until_available
from serving.launch.server_process import ServerEndpoints
from tests.serving.servers import small_server


@pytest.fixture(scope="module")
def endpoints() -> Iterator[ServerEndpoints]:
    with small_server() as endpoints:
        yield endpoints


def wait(endpoints: ServerEndpoints, versions: dict[str, tuple[int, ...]], seconds: float = 20.0) -> None:
    wait_until_available(endpoints.grpc_target, versions, seconds=seconds, ended=lambda: None)


def test_it_waits_for_every_version_of_every_model(endpoints: ServerEndpoints) -> None:
    wait(endpoints, {"late": (1,), "affine": (1, 2), "echo": (7,)})


def test_another_version_of_the_model_is_not_enough(endpoints: ServerEndpoints) -> None:
    with pytest.raises(NotReadyError, match=r"version 7 was not ready within 0\.\d+ s: .*version 7 of model") as caught:
        wait(endpoints, {"affine": (1, 7)}, 0.5)
    assert "version 1" not in str(caught.value)


def test_a_version_that_cannot_be_loaded_is_named(endpoints: ServerEndpoints) -> None:
    with pytest.raises(NotReadyError, match=r"broken version 1 could not be loaded: .*saved_model\.pb is damaged"):
        wait(endpoints, {"affine": (1,), "broken": (1,)})


def test_a_missing_server_is_not_ready() -> None:
    with pytest.raises(NotReadyError, match=r"Cannot connect to 127\.0\.0\.1:9"):
        wait_until_available("127.0.0.1:9", {"m": (1,)}, seconds=0.3, ended=lambda: None)


def test_a_server_that_has_ended_is_not_waited_for() -> None:
    with pytest.raises(LaunchError, match="it is gone"):
        wait_until_available("127.0.0.1:9", {"m": (1,)}, seconds=20, ended=lambda: LaunchError("it is gone"))
