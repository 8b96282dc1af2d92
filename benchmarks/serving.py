"""What does the embedded server add to a request, and what does batching gain under load?

- Overhead. Measured: a request with 4 floats over gRPC. Peer: the same SavedModel signature, called in this process. Limit: a
  difference of 0.7 ms in the median.
- Batching. Measured: 64 clients on the sentence encoder MiniLM with its real weights (sentences of 12 tokens) and a server with
  batching. Peer: a server without batching; both take turns. Limit: 2 times the requests per second (the printed ratio, without /
  with, is at most 0.50), and no failed request. The 99th percentile is printed too.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil

from benchmarks.support.common import Report, Verdict, interleave, load_arguments, status_of
from bundler.operations.bench import bench_request
from bundler.validation.bundle import Bundle
from serving.advise.settings import Demand, layout_settings
from serving.bench.load import Load, measure
from serving.client.client import Client
from serving.launch.server_process import server_process

CLIENTS = 64
OVERHEAD_MS = 0.7
BATCHING = 1 / 2


def main() -> int:
    parser = load_arguments(__doc__, turns=5, seconds=3.0)
    parser.add_argument("--calls", type=int, default=300, help="calls per round when the overhead is measured")
    parser.add_argument("--minilm", type=Path, metavar="BUNDLE", help="a bundle of MiniLM that exists already")
    args = parser.parse_args()
    report = Report("The embedded server", ["what", "clients", "requests/s", "p50 ms", "p99 ms"])
    with tempfile.TemporaryDirectory() as folder:
        overhead(report, Path(folder), args.calls, 1 if args.one_row else 7)
        if not args.one_row:
            batching(report, args.minilm or build_minilm(Path(folder)), Path(folder), args.turns, args.seconds)
    return report.finish(args)


def overhead(report: Report, folder: Path, calls: int, rounds: int) -> None:
    """Measure requests to a server in another process, and calls of the same model in this one."""
    base = folder / "double"
    save_double(base / "1")
    x = np.array([[1, 2, 3, 4]], np.float32)
    with server_process(base) as endpoints, Client(endpoints.grpc_target) as client:
        contenders = {
            "gRPC, 4 floats": median_of(client.prepare("double", {"x": x}), calls),
            "in process, 4 floats": median_of(in_process(base / "1", x), calls),
        }
        figures = interleave(contenders, rounds)
    for name, medians in figures.items():
        report.rows.append([name, "1", "", f"{statistics.median(medians):.3f}", ""])
    pairs = zip(*figures.values(), strict=True)
    report.data["overhead"] = figures
    cost = statistics.median(served - local for served, local in pairs)
    report.verdicts.append(Verdict("overhead of a request, median", cost, OVERHEAD_MS, " ms", inclusive=True))


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
