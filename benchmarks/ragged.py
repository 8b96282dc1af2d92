"""What does batching cost requests of different lengths, which the server pads?

Measured: 64 clients on the sentence encoder MiniLM with its real weights, each with sentences of 5 to 30 tokens as ids: the
signature makes the mask (`mask` in bundle.yaml), and the server pads (`pad_variable_length_inputs`). The lengths of a batch are
mixed.
Peers: the same requests sorted by length, so that those of a batch are nearly equal, and a server without batching.
Limits: no request fails; sorted lengths are answered at most 2.5 times as fast as mixed ones, whose batches are computed at the
length of their longest request, 1.7 times the mean; and mixed ones faster than without batching.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np

import bundler
from benchmarks.support.common import Report, Verdict, load_arguments, status_of
from serving.bench.load import Load, LoadFigures, measure
from serving.client.prepared_request import PreparedRequest
from serving.launch.server_process import server_process

CLIENTS, REQUESTS = 64, 640
SPEC = """
models:
  - name: minilm
    source: minilm.py:make
    inputs: ["input_ids=int64[batch,seq]", "attention_mask=int64[batch,seq]"]
    signatures: {by_ids: {mask: {types: null}}}
serving: {batching: true, max_batch_size: 32, batch_timeout_micros: 0, num_batch_threads: 1, pad_variable_length_inputs: true}
"""
SORTED, WITHOUT = 2.5, 1.0


def main() -> int:
    parser = load_arguments(__doc__, turns=3, seconds=4.0)
    args = parser.parse_args()
    if args.one_row:
        args.turns, args.seconds = 1, 1.0
    columns = ["requests", "requests/s", "p50 ms", "p99 ms", "failed"]
    report = Report("MiniLM from ids, sentences of 5 to 30 tokens, 64 clients", columns)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "minilm.py").write_text("from bundler.demo.sentences import make\n")
        (folder / "bundle.yaml").write_text(SPEC)
        bundle = bundler.build(folder / "bundle.yaml", out=folder / "out")
        compare(bundle.path, args.turns, args.seconds, report)
    return report.finish(args)


def compare(bundle: Path, turns: int, seconds: float, report: Report) -> None:
    """Add the rows and the verdicts."""
    threads = ["--grpc_max_threads=64", "--tensorflow_intra_op_parallelism=2"]
    batching = ["--enable_batching=true", f"--batching_parameters_file={bundle}/serving/batching.config"]
    mixed = requests()
    by_length = sorted(mixed, key=lambda request: request.inputs["input_ids"].shape[1])
    figures: dict[str, list[LoadFigures]] = {"mixed lengths, padded": [], "sorted by length": [], "without batching": []}
    with server_process(bundle, [*threads, *batching]) as batched, server_process(bundle, threads) as plain:
        for _ in range(turns):
            for name, target, sent in zip(figures, (batched, batched, plain), (mixed, by_length, mixed), strict=True):
                figures[name] += measure([target.grpc_target], sent, [Load(CLIENTS, seconds)])
    for name, loads in figures.items():
        medians = [statistics.median(getattr(load, key) for load in loads) for key in ("per_second", "p50_ms", "p99_ms")]
        report.rows.append([name, *(f"{value:.1f}" for value in medians), str(sum(load.failed for load in loads))])
        report.data[name] = [load.to_json() for load in loads]
    rates = {name: [load.per_second for load in loads] for name, loads in figures.items()}
    padded = rates["mixed lengths, padded"]
    for peer, limit in (("sorted by length", SORTED), ("without batching", WITHOUT)):
        ratio = statistics.median(other / own for other, own in zip(rates[peer], padded, strict=True))
        report.verdicts.append(Verdict(f"requests/s, {peer} / mixed", round(ratio, 2), limit, "", inclusive=True))
    failed = sum(load.failed for loads in figures.values() for load in loads)
    report.verdicts.append(Verdict("failed requests", failed, 0, "", inclusive=True))


def requests() -> list[PreparedRequest]:
    """Return requests of one sentence each, whose lengths are drawn at random."""
    rng = np.random.default_rng(0)
    prepared = []
    for length in rng.integers(5, 31, REQUESTS):
        ids = np.r_[101, rng.integers(1996, 3000, length - 2), 102][None].astype(np.int64)
        prepared.append(PreparedRequest("minilm", {"input_ids": ids}, signature="by_ids"))
    return prepared


if __name__ == "__main__":
    sys.exit(status_of(main))
