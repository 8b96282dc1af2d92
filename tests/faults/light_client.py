"""A light client for tests of overload: 40 requests per second, REST and gRPC alternately, each answer checked.

    with LightClient(server) as light, MemoryPeak(server.pid) as memory:
        attack(server)
    assert not light.result.losses and light.result.p99 < 1.0 and memory.rise_mb < 200

The client runs in its own process (`python -m tests.faults.light_client`), so that an attack from the test's process does not
slow it down. Requests start on a schedule, whether or not earlier ones are answered, and latency counts from the scheduled time.
"""

from __future__ import annotations

import http.client
import itertools
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import grpc
import psutil

from serving.launch.server_process import ServerEndpoints
from serving.protocol.messages import PREDICTION_SERVICE, serving_message

ROOT = Path(__file__).parents[2]
PER_SECOND = 40
TIMEOUT = 10.0
"""Seconds after which a request counts as lost."""

_THREADS = 32
_SAMPLE_SECONDS = 0.02
_MIB = 2**20
VALUES = [1.0, 2.0, 3.0, 4.0]


@dataclass(frozen=True)
class Target:
    """A server and a signature with one input `x` (float32 [rows, 4]) that returns its input times `factor`."""

    rest_port: int
    grpc_port: int
    model: str = "m"
    signature: str = "single"
    factor: float = 1.0


@dataclass
class Result:
    """The outcome of all requests.

    Attributes:
        seconds: the latency of each answered request, by its interface.
        failures: why each lost request was lost.
    """

    seconds: dict[str, list[float]] = field(default_factory=lambda: {"REST": [], "gRPC": []})
    failures: list[str] = field(default_factory=list)

    @property
    def losses(self) -> int:
        return len(self.failures)

    @property
    def sent(self) -> int:
        return self.losses + sum(map(len, self.seconds.values()))

    @property
    def p50(self) -> float:
        return self.quantile(0.5)

    @property
    def p99(self) -> float:
        return self.quantile(0.99)

    def quantile(self, share: float) -> float:
        """Return a quantile of the latencies in seconds; a lost request counts as one that took `TIMEOUT`."""
        values = sorted([*itertools.chain(*self.seconds.values()), *[TIMEOUT] * self.losses])
        return values[min(int(share * len(values)), len(values) - 1)] if values else float("inf")

    def __str__(self) -> str:
        line = f"{self.sent} requests, {self.losses} lost, p50 {self.p50 * 1e3:.0f} ms, p99 {self.p99 * 1e3:.0f} ms"
        return "\n".join([line, *self.failures[:5]])


class LightClient:
    """Send requests within the block. `result` holds the outcome after it, and is empty before."""

    def __init__(
        self, server: ServerEndpoints, *, model: str = "m", signature: str = "single", factor: float = 1.0
    ) -> None:
        self.result = Result()
        self._target = Target(server.rest_port, server.grpc_port, model, signature, factor)

    def __enter__(self) -> LightClient:
        command = [sys.executable, "-m", "tests.faults.light_client", json.dumps(asdict(self._target))]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        ready = self._process.stdout.readline()
        if ready != "ready\n":
            self._process.kill()
            self._process.communicate()
            raise RuntimeError("the server does not answer the light client's first request")
        return self

    def __exit__(self, *_: object) -> None:
        try:
            output, _errors = self._process.communicate(timeout=3 * TIMEOUT)
        finally:
            self._process.kill()
        self.result = Result(**json.loads(output))


class MemoryPeak:
    """Measure the largest resident memory of a process and its children within the block.

    The sum is sampled every 20 ms. The kernel's own record of the process (VmHWM) is used too, as it misses no short peak.

    Attributes:
        idle_mb: resident memory in MiB at the start of the block.
        peak_mb: the largest within the block.
        after_mb: resident memory at its end, or 0 if the process is gone.
    """

    def __init__(self, pid: int) -> None:
        self._root = psutil.Process(pid)
        self._ended = threading.Event()
        self._sampler = threading.Thread(target=self._sample, daemon=True)
        self.idle_mb = self.peak_mb = self.after_mb = 0.0

    @property
    def rise_mb(self) -> float:
        return self.peak_mb - self.idle_mb

    def __enter__(self) -> MemoryPeak:
        self._forget_record()
        self.idle_mb = self.peak_mb = self._resident()
        self._sampler.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._sampler.join()
        self.after_mb = self._resident()
        self.peak_mb = max(self.peak_mb, self._record())

    def _sample(self) -> None:
        while not self._ended.wait(_SAMPLE_SECONDS):
            self.peak_mb = max(self.peak_mb, self._resident(), self._record())

    def _resident(self) -> float:
        return resident_mb(self._root.pid)

    def _forget_record(self) -> None:
        """Reset VmHWM to the current size, where the kernel allows it."""
        try:
            Path(f"/proc/{self._root.pid}/clear_refs").write_text("5")
            self._has_record = True
        except OSError:
            self._has_record = False

    def _record(self) -> float:
        if not self._has_record:
            return 0.0
        try:
            lines = Path(f"/proc/{self._root.pid}/status").read_text().splitlines()
        except OSError:
            return 0.0
        return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), 0.0)


def resident_mb(pid: int) -> float:
    """Return the resident memory of a process and its children in MiB; 0 if the process is gone.

    A child that still has the command line of its parent is between fork and exec: its memory is the parent's, counted already.
    """
    total = 0
    for process in _tree(pid):
        with suppress(psutil.NoSuchProcess):
            parent = process.parent() if process.pid != pid else None
            if parent is None or process.cmdline() != parent.cmdline():
                total += process.memory_info().rss
    return total / _MIB


def processor_seconds(pid: int) -> float:
    """Return the processor time of a process and its children."""
    total = 0.0
    for process in _tree(pid):
        with suppress(psutil.NoSuchProcess):
            total += sum(process.cpu_times()[:2])
    return total


def _tree(pid: int) -> Iterator[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        yield from (root, *root.children(recursive=True))


class LogBytes:
    """Count the bytes that a log file grows by within the block."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.written = 0

    def __enter__(self) -> LogBytes:
        self._before = self._file.stat().st_size
        return self

    def __exit__(self, *_: object) -> None:
        self.written = self._file.stat().st_size - self._before

    def text(self) -> str:
        """Return what was written since the start of the block."""
        return self._file.read_bytes()[self._before :].decode("utf-8", "replace")


class _Sender:
    """The threads that send; each has its own REST connection, which is open before the start, and all share one gRPC channel."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._body = json.dumps({"signature_name": target.signature, "instances": [VALUES]}).encode()
        self._request = predict_request(target.model, target.signature)
        self._wanted = [value * target.factor for value in VALUES]
        self._channel = grpc.insecure_channel(f"127.0.0.1:{target.grpc_port}")
        self._call = self._channel.unary_unary(f"/{PREDICTION_SERVICE}/Predict")
        self._response = serving_message("PredictResponse")
        self._local = threading.local()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._ticks = itertools.count()
        self.result = Result()

    def run_until_end_of_input(self) -> None:
        connections = []
        for _ in range(_THREADS):  # a server may cut off a connection without a request
            connections.append(self._connection())
            self._local.connection = connections[-1]
            self._send("REST")
        self._send("gRPC")
        print("ready", flush=True)
        self._began = time.monotonic()
        workers = [threading.Thread(target=self._work, args=(connection,)) for connection in connections]
        for worker in workers:
            worker.start()
        sys.stdin.read()
        self._ended.set()
        for worker in workers:
            worker.join()

    def _connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self._target.rest_port, timeout=TIMEOUT)

    def _work(self, connection: http.client.HTTPConnection) -> None:
        self._local.connection = connection
        while True:
            with self._lock:
                tick = next(self._ticks)
            due = self._began + tick / PER_SECOND
            if self._ended.wait(max(due - time.monotonic(), 0.0)):
                return
            interface = "gRPC" if tick % 2 else "REST"
            try:
                self._send(interface)
            except Exception as exc:  # noqa: BLE001 (whatever is raised, the request is lost)
                late = time.monotonic() - due
                with self._lock:
                    self.result.failures.append(f"{interface} after {late:.2f} s: {_described(exc)}")
            else:
                with self._lock:
                    self.result.seconds[interface].append(time.monotonic() - due)

    def _send(self, interface: str) -> None:
        got = self._over_grpc() if interface == "gRPC" else self._over_rest()
        if got != self._wanted:
            raise ValueError(f"the answer is {got!r:.200}, expected {self._wanted}")

    def _over_grpc(self) -> list[float]:
        (output,) = self._response.FromString(self._call(self._request, timeout=TIMEOUT)).outputs.values()
        return list(output.float_val)

    def _over_rest(self) -> Any:
        connection = getattr(self._local, "connection", None) or self._connection()
        self._local.connection = connection
        try:
            connection.request("POST", f"/v1/models/{self._target.model}:predict", self._body)
            response = connection.getresponse()
            data = response.read()
        except BaseException:
            connection.close()
            self._local.connection = None
            raise
        if response.status != 200:
            raise ValueError(f"status {response.status}: {data[:200]!r}")
        return json.loads(data)["predictions"][0]


def predict_request(model: str, signature: str) -> bytes:
    """Return a serialized PredictRequest with one row."""
    request = serving_message("PredictRequest")(model_spec={"name": model, "signature_name": signature})
    tensor = request.inputs["x"]
    tensor.dtype = 1
    for size in (1, len(VALUES)):
        tensor.tensor_shape.dim.add(size=size)
    tensor.float_val.extend(VALUES)
    data: bytes = request.SerializeToString()
    return data


def _described(exc: Exception) -> str:
    if isinstance(exc, grpc.RpcError):
        return f"{exc.code().name}: {exc.details()}"
    return f"{type(exc).__name__}: {exc}"


def main() -> int:
    sender = _Sender(Target(**json.loads(sys.argv[1])))
    sender.run_until_end_of_input()
    print(json.dumps(asdict(sender.result)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
