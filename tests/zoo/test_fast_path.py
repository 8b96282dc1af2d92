"""Architectures have a model.tflite that answers as PyTorch does: 1, 2 and 5 rows, and two sizes of every other dynamic dim.

The answers are those of the embedded server's servable; those of `SERVED` come over gRPC. The fast sample is
tests/bundler/tflite/test_fast_path.py.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from serving import Client, Server
from tests.zoo import fast_path, table
from tests.zoo.known_fast_path_failures import REASONS

GOAL = 100
SERVED = ("wide_and_deep", "distilbert", "mobilenetv3_small_050")


def _parameter(name: str) -> object:
    known = [pytest.mark.xfail(reason=REASONS[name], strict=True)] if name in REASONS else []
    return pytest.param(name, marks=[pytest.mark.slow, *known])


@pytest.mark.parametrize("name", [_parameter(name) for name in table.ENTRIES])
def test_fast_path(name: str, tmp_path: Path) -> None:
    built = fast_path.build(table.ENTRIES[name], tmp_path)
    built.assert_agrees()
    if name in SERVED:
        with Server(built.folder, prefer_tflite=True) as server, Client(f"127.0.0.1:{server.grpc_port}") as client:
            built.assert_served(lambda inputs: client.predict(built.folder.name, inputs))


def test_enough_architectures_have_a_fast_path_and_known_failures_exist() -> None:
    assert set(REASONS) < set(table.ENTRIES)
    assert len(table.ENTRIES) - len(REASONS) >= GOAL
