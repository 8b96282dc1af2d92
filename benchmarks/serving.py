"""What does the embedded server add to a request, and what does batching gain under load?

- Overhead. Measured: a request with 4 floats over gRPC. Peer: the same SavedModel signature, called in this process. Limit: a
  difference of 0.4 ms in the median. A gRPC server for Python that returns its request shows what gRPC itself takes of it.
- JSON. Measured: processor time of reading a REST request with a picture of 224x224 pixels, and of writing answers of 1,000
  and of a million floats. Peer: Python's json module, which prints other digits. Limit: a million floats are written in 0.7 times
  its time.
- Batching. Measured: 64 clients on the sentence encoder MiniLM with its real weights (sentences of 12 tokens) and a server with
  batching. Peer: a server without batching; both take turns. Limit: 2 times the requests per second (the printed ratio, without /
  with, is at most 0.50), and no failed request. The 99th percentile is printed too.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import grpc
import numpy as np
import psutil

from benchmarks.support.common import Report, Verdict, interleave, load_arguments, ratio, status_of
from bundler.operations.bench import bench_request
from bundler.validation.bundle import Bundle
from serving.advise.settings import Demand, layout_settings
from serving.bench.load import Load, measure
from serving.client.client import Client
from serving.launch.server_process import server_process
from serving.protocol.json_codec import read_predict, write_predictions
from serving.protocol.messages import enum

CLIENTS = 64
OVERHEAD_MS = 0.4
JSON = 0.7
BATCHING = 1 / 2


def main() -> int:
    parser = load_arguments(__doc__, turns=5, seconds=3.0)
    parser.add_argument("--calls", type=int, default=300, help="calls per round when the overhead is measured")
    parser.add_argument("--minilm", type=Path, metavar="BUNDLE", help="a bundle of MiniLM that exists already")
    args = parser.parse_args()
    report = Report("The embedded server", ["what", "clients", "requests/s", "p50 ms", "p99 ms"])
    with tempfile.TemporaryDirectory() as folder:
        overhead(report, Path(folder), args.calls, 1 if args.one_row else 7)
        json_texts(report, 1 if args.one_row else 5)
        if not args.one_row:
            batching(report, args.minilm or build_minilm(Path(folder)), Path(folder), args.turns, args.seconds)
    return report.finish(args)


def overhead(report: Report, folder: Path, calls: int, rounds: int) -> None:
    """Measure requests to a server in another process, and calls of the same model in this one."""
    base = folder / "double"
    save_double(base / "1")
    x = np.array([[1, 2, 3, 4]], np.float32)
    with server_process(base) as endpoints, Client(endpoints.grpc_target) as client, echo() as returned:
        contenders = {
            "gRPC, 4 floats": median_of(client.prepare("double", {"x": x}), calls),
            "in process, 4 floats": median_of(in_process(base / "1", x), calls),
            "gRPC alone, as many bytes": median_of(lambda: returned(x.tobytes()), calls),
        }
        figures = interleave(contenders, rounds)
    for name, medians in figures.items():
        report.rows.append([name, "1", "", f"{statistics.median(medians):.3f}", ""])
    report.data["overhead"] = figures
    cost = statistics.median(served - local for served, local, _ in zip(*figures.values(), strict=True))
    report.verdicts.append(Verdict("overhead of a request, median", cost, OVERHEAD_MS, " ms", inclusive=True))


@contextmanager
def echo() -> Iterator[Callable[[bytes], bytes]]:
    """Run a gRPC server for Python in another process, and yield a call of it that returns its request."""
    with subprocess.Popen([sys.executable, "-c", _ECHO], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        with grpc.insecure_channel(f"127.0.0.1:{int(process.stdout.readline())}") as channel:
            yield channel.unary_unary("/echo/Call", None, None)
        process.kill()


_ECHO = """
import grpc
from concurrent.futures import ThreadPoolExecutor

server = grpc.server(ThreadPoolExecutor(8))
handler = grpc.unary_unary_rpc_method_handler(lambda request, _: request)
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("echo", {"Call": handler}),))
print(server.add_insecure_port("127.0.0.1:0"), flush=True)
server.start()
server.wait_for_termination()
"""


def json_texts(report: Report, rounds: int) -> None:
    """Measure the server's JSON and Python's."""
    rng = np.random.default_rng(0)
    scores, many = (rng.normal(size=shape).astype(np.float32) for shape in ((1, 1000), (10, 100_000)))
    body = json.dumps({"instances": rng.normal(size=(1, 224, 224, 3)).tolist()}).encode()
    number = enum("tensorflow.DataType").values_by_name["DT_FLOAT"].number
    tasks: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "read a picture": (
            lambda: read_predict(body).tensors({"x": number}),
            lambda: np.asarray(json.loads(body)["instances"], np.float32),
        ),
        "write 1,000 floats": (lambda: write_predictions({"y": scores}, row=True), lambda: json.dumps(scores.tolist())),
        "write 1,000,000 floats": (lambda: write_predictions({"y": many}, row=True), lambda: json.dumps(many.tolist())),
    }
    for name, (ours, theirs) in tasks.items():
        figures = interleave({"the server": cpu_ms(ours), "json": cpu_ms(theirs)}, rounds)
        report.rows += [[f"JSON: {name}, {who}", "", "", f"{statistics.median(times):.2f}", ""] for who, times in figures.items()]
        report.data[f"JSON: {name}"] = figures
    report.verdicts.append(Verdict("JSON of a million floats / Python's json", ratio(figures, "the server", "json"), JSON, "x"))


def cpu_ms(call: Callable[[], object]) -> Callable[[], float]:
    """Return a turn for `interleave`: the milliseconds of processor time of one call."""

    def run() -> float:
        began = time.process_time()
        call()
        return (time.process_time() - began) * 1e3

    return run


def save_double(path: Path) -> None:
    """Save a model with `serving_default(x=float32[?,4]) -> y`, which does next to nothing."""
    import tensorflow as tf

    module = tf.Module()
    module.double = tf.function(
        lambda x: {"y": 2.0 * x}, input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")]
    )
    tf.saved_model.save(module, str(path), signatures={"serving_default": module.double})


def in_process(path: Path, x: np.ndarray) -> Callable[[], object]:
    """Return a call of the same signature from Python."""
    import tensorflow as tf

    signature = tf.saved_model.load(str(path)).signatures["serving_default"]
    tensor = tf.constant(x)
    return lambda: signature(x=tensor)["y"].numpy()


def median_of(call: Callable[[], object], calls: int) -> Callable[[], float]:
    """Return a turn for `interleave`: the median milliseconds of `calls` calls."""

    def run() -> float:
        times = []
        for _ in range(calls):
            began = time.perf_counter()
            call()
            times.append(time.perf_counter() - began)
        return statistics.median(times) * 1e3

    return run


def build_minilm(folder: Path) -> Path:
    """Build a bundle of the demo's sentence encoder."""
    from bundler.demo import steps

    return steps.build_minilm(folder / "minilm").path


def batching(report: Report, bundle: Path, folder: Path, turns: int, seconds: float) -> None:
    """Measure a server without flags, and one with batches of half the clients, which fill while the previous batch runs."""
    setting = layout_settings(Demand(CLIENTS, at_once=CLIENTS), tflite=False)[0]
    assert setting.batching
    setting = replace(setting, batching=replace(setting.batching, max_batch_size=CLIENTS // 2))
    assert setting.batching
    file = folder / "batching.config"
    file.write_text(setting.batching.to_text())
    request = bench_request(Bundle.open(bundle))
    with server_process(bundle) as plain, server_process(bundle, setting.flags(str(file))) as batched:
        before = [cpu_seconds(server.pid) for server in (plain, batched)]
        rounds = [measure([plain.grpc_target, batched.grpc_target], request, [Load(CLIENTS, seconds)]) for _ in range(turns)]
        used = [cpu_seconds(server.pid) - start for server, start in zip((plain, batched), before, strict=True)]
    for name, figures in zip(("MiniLM, no flags", f"MiniLM, {setting}"), zip(*rounds, strict=True), strict=True):
        medians = [statistics.median(getattr(load, key) for load in figures) for key in ("per_second", "p50_ms", "p99_ms")]
        report.rows.append([name, str(CLIENTS), *(f"{value:.1f}" for value in medians)])
        report.data[name] = [load.to_json() for load in figures]
    ratio = statistics.median(plain.per_second / batched.per_second for plain, batched in rounds)
    failed = sum(load.failed for loads in rounds for load in loads)
    report.verdicts.append(Verdict("requests/s, without batching / with", ratio, BATCHING, "", inclusive=True))
    report.verdicts.append(Verdict("failed requests", failed, 0, "", inclusive=True))
    answered = [sum(load.requests for load in loads) for loads in zip(*rounds, strict=True)]
    each = [seconds / count * 1e3 for seconds, count in zip(used, answered, strict=True)]
    report.notes.append(f"processor time of the server per request: {each[0]:.1f} ms without batching, {each[1]:.1f} ms with")
    report.notes.append(f"with batching, {1 / ratio:.2f} times as many requests are answered")


def cpu_seconds(pid: int) -> float:
    """Return the processor time of a process, which a busy machine does not change much."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


if __name__ == "__main__":
    sys.exit(status_of(main))
