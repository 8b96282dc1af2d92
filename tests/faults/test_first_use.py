"""The client library in a process whose threads all use it for the first time at once."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from serving.launch.server_process import ServerEndpoints
from tests.serving.servers import ROOT, small_server

THREADS = 16
SCRIPT = """
import sys, threading
import numpy as np
import serving

target, threads, shared = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "shared"
sys.setswitchinterval(1e-5)
gate, failures = threading.Barrier(threads), []
one = serving.Client(target)

def first():
    client = one if shared else serving.Client(target)
    gate.wait()
    try:
        client.predict("affine", x=np.zeros((1, 3), np.float32))
    except Exception as exc:
        failures.append(repr(exc))

workers = [threading.Thread(target=first) for _ in range(threads)]
for worker in workers:
    worker.start()
for worker in workers:
    worker.join()
one.predict("affine", x=np.zeros((1, 3), np.float32))
print(*failures, sep="\\n")
sys.exit(bool(failures))
"""


@pytest.fixture(scope="module")
def endpoints() -> Iterator[ServerEndpoints]:
    with small_server() as endpoints:
        yield endpoints


def first_calls(target: str, clients: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", SCRIPT, target, str(THREADS), clients]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.parametrize("clients", ["shared", pytest.param("own", marks=pytest.mark.slow)])
@pytest.mark.parametrize("processes", [4, pytest.param(25, marks=pytest.mark.slow)])
def test_first_calls_of_many_threads_all_succeed(endpoints: ServerEndpoints, clients: str, processes: int) -> None:
    with ThreadPoolExecutor(2) as runs:
        results = list(runs.map(lambda _: first_calls(endpoints.grpc_target, clients), range(processes)))
    assert [done.stdout + done.stderr for done in results if done.returncode] == []
