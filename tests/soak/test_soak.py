"""Many small requests for a long time while versions are replaced: none fails, and memory does not grow."""

from __future__ import annotations

import shutil
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path

import grpc
import numpy as np
import psutil
import pytest

from serving.protocol.messages import PREDICTION_SERVICE, serving_message
from serving.protocol.tensors import to_proto
from tests.serving.processes import ServerProcess, server_process
from tests.serving.server.recordings import MODELS

REQUESTS = 1_000_000
CLIENTS = 4
WARM_UP = 0.3
"""Share of the time before memory is compared; it includes several reloads."""

GROWTH = 1.05

REQUEST = serving_message("PredictRequest")(model_spec={"name": "m", "signature_name": "single"})
REQUEST.inputs["x"].CopyFrom(to_proto(np.array([[1, 2, 3, 4]], np.float32)))
RIGHT = ([1, 2, 3, 4], [2, 4, 6, 8])
"""Answers of the odd and of the even versions."""


class Load:
    """Clients that send requests within the block; counts requests and failures."""

    def __init__(self, target: str) -> None:
        self.sent = 0
        self.failures: list[object] = []
        self._target = target
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._workers = [threading.Thread(target=self._run) for _ in range(CLIENTS)]

    def __enter__(self) -> Load:
        for worker in self._workers:
            worker.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for worker in self._workers:
            worker.join()

    def _run(self) -> None:
        data, kind = REQUEST.SerializeToString(), serving_message("PredictResponse")
        with grpc.insecure_channel(self._target) as channel:
            call = channel.unary_unary(f"/{PREDICTION_SERVICE}/Predict", response_deserializer=kind.FromString)
            while not self._ended.is_set() and self.sent < REQUESTS:
                self._count(call, data)

    def _count(self, call: Callable[..., object], data: bytes) -> None:
        try:
            (output,) = call(data, timeout=60).outputs.values()  # type: ignore[attr-defined]
            failure = None if list(output.float_val) in RIGHT else list(output.float_val)
        except grpc.RpcError as exc:
            failure = (exc.code().name, exc.details())
        with self._lock:
            self.sent += 1
            if failure is not None:
                self.failures.append(failure)


def publish(base: Path, version: int) -> None:
    """Rename a complete version into place and remove the second to last, as one keeps disks from filling up."""
    staging = base.parent / "staging"
    shutil.copytree(MODELS / "rows" / ("2" if version % 2 == 0 else "1"), staging)
    staging.rename(base / str(version))
    if version > 2:
        shutil.rmtree(base / str(version - 2))


def watch(server: ServerProcess, base: Path, load: Load, seconds: float, pause: float) -> list[int]:
    """Publish a version every `pause` seconds for some seconds. Return the server's resident bytes, two numbers per second."""
    process = psutil.Process(server.process.pid)
    start, version, resident = time.monotonic(), 1, []
    while time.monotonic() - start < seconds and load.sent < REQUESTS and not load.failures:
        if time.monotonic() - start >= version * pause:
            version += 1
            publish(base, version)
        time.sleep(0.5)
        resident.append(process.memory_info().rss)
    return resident


@pytest.mark.timeout(2400)
@pytest.mark.parametrize(
    ("seconds", "pause"), [(8, 2.0), pytest.param(1800, 10.0, marks=pytest.mark.slow)], ids=["8 s", "30 min"]
)
def test_soak(seconds: int, pause: float, tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    base = tmp_path / "m"
    base.mkdir()
    publish(base, 1)
    with server_process("--model_name=m", f"--model_base_path={base}") as server, Load(server.grpc_target) as load:
        resident = watch(server, base, load, seconds, pause)
        assert server.process.poll() is None
    assert not load.failures, load.failures[:5]
    warm = resident[int(len(resident) * WARM_UP) :]
    window = max(len(warm) // 5, 1)
    before, after = (statistics.median(part) for part in (warm[:window], warm[-window:]))
    record_property("requests", load.sent)
    record_property("growth", after / before)
    print(
        f"{load.sent} requests in {len(resident) / 2:.0f} s, resident {before / 2**20:.1f} -> {after / 2**20:.1f} MiB"
    )
    assert after < before * GROWTH, f"resident memory grew from {before} to {after} bytes: {resident}"
