"""How fast is what TensorFlow Serving serves, compared with ONNX Runtime and OpenVINO?

Measured: eight models in every form that `tfbundle build` makes for the server, run as the server runs them (the embedded
server's own sessions and interpreters): the SavedModel in float32, in bfloat16 and under --mixed_precision=bfloat16, and
model.tflite in float32 and int8. Latency of a lone client at batch 1 and 8; calls per second while both cores are busy.
Peers, from the same PyTorch model: ONNX Runtime, and OpenVINO in float32, bfloat16, and int8 (NNCF with our calibration data).
Each form of each runtime has a process of its own; all take turns.

A lone SavedModel, ONNX Runtime and OpenVINO use two threads, a model.tflite one, as in the real server. Under load two calls run
at once with one thread each; ONNX Runtime also has a turn with four calls that share two threads, and its better figure counts.
A form in lower precision counts if its signal-to-noise ratio (SQNR) is at least 20 dB.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.support import peers, plot
from benchmarks.support.common import ROOT, Report, Verdict, interleave, ratio, run, status_of, tfbundle
from benchmarks.support.contender import Array
from benchmarks.support.contest import (
    ONNX_RUNTIME,
    Artifacts,
    check,
    contenders,
    contest_arguments,
    parse,
    sqnr_db,
    take_turns,
)
from benchmarks.support.environments import ENVIRONMENTS, installed
from benchmarks.support.models import NAMES
from benchmarks.support.results import BATCHES
from benchmarks.support.tflite_process import CALIBRATION, draws
from serving.cpu import bfloat16_instructions
from tests.models import MODELS

SHARED = f"{ONNX_RUNTIME}, shared threads"
OPENVINO, OPENVINO_BF16, OPENVINO_INT8 = "OpenVINO", "OpenVINO bfloat16", "OpenVINO int8"
SAVED_MODEL, BF16, FLAG = "SavedModel", "SavedModel bfloat16", "SavedModel, flag"
TFLITE, INT8 = "model.tflite", "model.tflite int8"
FLOATS, LOWER = (SAVED_MODEL, TFLITE), (BF16, FLAG, INT8)
COLUMNS = (ONNX_RUNTIME, OPENVINO, OPENVINO_BF16, OPENVINO_INT8, SAVED_MODEL, BF16, FLAG, TFLITE, INT8)
WORKERS, SECONDS = 2, 1.0
SQNR_DB = 20.0
THROUGHPUT_FLOAT32, THROUGHPUT_FLOAT32_EACH, THROUGHPUT_BEST = 1.1, 0.9, 2.5
THROUGHPUT_OF_BF16, THROUGHPUT_OF_INT8 = 1.4, 0.9
LONE_FLOAT32, LONE_BEST, LONE_FLOAT32_BATCH_8 = 1.35, 0.6, 1.15


@dataclass
class Figures:
    """The figures of one model by contender.

    Attributes:
        ms: batch -> contender -> median milliseconds of each turn.
        per_second: contender -> calls per second of each turn, with two workers.
        sqnr_db: form in lower precision -> SQNR of its worst output, compared with ONNX Runtime.
    """

    ms: dict[int, dict[str, list[float]]] = field(default_factory=lambda: {batch: {} for batch in BATCHES})
    per_second: dict[str, list[float]] = field(default_factory=dict)
    sqnr_db: dict[str, float] = field(default_factory=dict)

    def latency(self, name: str, batch: int = 1) -> float | None:
        turns = self.ms[batch].get(name)
        return statistics.median(turns) if turns else None

    def throughput(self, name: str) -> float | None:
        turns = [self.per_second[each] for each in (name, SHARED) if name in (each, ONNX_RUNTIME) and each in self.per_second]
        return max(map(statistics.median, turns), default=None)

    def gated(self) -> list[str]:
        """Return the served forms in float32, and those in lower precision whose answers are good enough."""
        return [*FLOATS, *(name for name in LOWER if self.sqnr_db.get(name, 0.0) >= SQNR_DB)]


def main() -> int:
    parser = contest_arguments(__doc__, rounds=6, launches=2)
    parser.add_argument("--plot", type=Path, default=ROOT / "build" / "runtimes.svg", metavar="FILE.svg")
    parser.add_argument("--artifacts", type=Path, metavar="FOLDER", help="keep what is built, and use what is there already")
    args = parse(parser)
    report = Report(
        f"Served forms: lone client ms at batch 1 (8), then calls/s of {WORKERS} workers; "
        f"{', '.join(bfloat16_instructions()) or 'no BF16'}",
        ["model", *COLUMNS, "dB: bfloat16, flag, int8"],
    )
    results: dict[str, Figures] = {}
    for model in args.models:
        with folder_of(model, args.artifacts) as folder:
            results[model] = measure_model(model, folder, args.rounds, args.launches, args.one_row, report)
        report.rows += rows(model, results[model])
        print("\n".join(" | ".join(row) for row in report.rows[-2:]), file=sys.stderr, flush=True)
    judge(results, report)
    args.plot.parent.mkdir(parents=True, exist_ok=True)
    throughput = {model: {name: figures.throughput(name) for name in COLUMNS} for model, figures in results.items()}
    plot.draw_throughput(throughput, args.plot)
    report.notes.append(f"plot: {args.plot}")
    return report.finish(args)


@contextmanager
def folder_of(model: str, artifacts: Path | None) -> Iterator[Path]:
    """Yield the folder for what is built of a model: one that stays, or one that is removed afterwards."""
    if artifacts is not None:
        (artifacts / model).mkdir(parents=True, exist_ok=True)
        yield (artifacts / model).resolve()
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def measure_model(model: str, folder: Path, rounds: int, launches: int, only_installed: bool, report: Report) -> Figures:
    """Build every form, and let them and the peers take turns."""
    figures = Figures()
    artifacts = {**served(model, folder), ONNX_RUNTIME: ("onnxruntime", peers.export(model))}
    if only_installed and not installed("openvino"):
        report.notes.append("skipped OpenVINO, which is not installed")
    else:
        artifacts |= openvino(model, folder)
    of_tflite = {name: artifact for name, artifact in artifacts.items() if artifact[0] == "served_tflite"}
    others = {name: artifact for name, artifact in artifacts.items() if name not in of_tflite}
    example = peers.export(model, "npz")
    for _ in range(launches):
        with contenders(others, example) as running, contenders(of_tflite, example, threads=1) as files:
            everyone = {**running, **files}
            for name, contender in everyone.items():
                compare(model, name, everyone[ONNX_RUNTIME].answer, contender.answer, figures)
            take_turns(everyone, rounds, figures.ms)
        take_loaded_turns(artifacts, example, rounds, figures)
    report.data[model] = {"ms": figures.ms, "per_second": figures.per_second, "sqnr_db": figures.sqnr_db}
    return figures


def take_loaded_turns(artifacts: Artifacts, example: Path, rounds: int, figures: Figures) -> None:
    shared = {SHARED: artifacts[ONNX_RUNTIME]}
    with (
        contenders(artifacts, example, threads=1, workers=WORKERS) as running,
        contenders(shared, example, threads=2, workers=2 * WORKERS) as further,
    ):
        turns = {name: partial(contender.load, SECONDS) for name, contender in {**running, **further}.items()}
        for name, values in interleave(turns, -(-rounds // 2)).items():
            figures.per_second.setdefault(name, []).extend(values)


def served(model: str, folder: Path) -> dict[str, tuple[str, Path]]:
    """Build the bundles, and return what the server would load."""
    calibration = folder / "calibration.npz"
    with np.load(peers.export(model, "npz")) as example:
        samples = draws(dict(example), CALIBRATION)
    np.savez(calibration, **{name: np.concatenate([sample[name] for sample in samples]) for name in samples[0]})  # type: ignore[arg-type]
    base = build(model, folder / "base", "--fast-path")
    lower = build(model, folder / "lower", "--precision", "bfloat16")
    int8 = build(model, folder / "int8", "--fast-path", "int8", "--calibration", str(calibration))
    return {
        SAVED_MODEL: ("saved_model", base), FLAG: ("mixed_precision", base), TFLITE: ("served_tflite", base),
        BF16: ("saved_model", lower), INT8: ("served_tflite", int8),
    }  # fmt: skip


def build(model: str, out: Path, *options: str) -> Path:
    """Return the folder of the version that `tfbundle build` makes of the PyTorch model."""
    inputs = [part for spec in MODELS[NAMES[model]]().specs for part in ("--input", spec)]
    source = f"{ROOT / 'benchmarks' / 'support' / 'models.py'}:{model}"
    if not out.exists():
        run(tfbundle("build", source, "--name", "m", "-o", str(out), *inputs, *options))
    return out / "models" / "m" / "1"


def openvino(model: str, folder: Path) -> dict[str, tuple[str, Path]]:
    """Quantize the model with NNCF, and return what OpenVINO loads."""
    python, script = ENVIRONMENTS["openvino"].command("python"), ROOT / "benchmarks" / "support" / "openvino_int8_process.py"
    source, quantized = peers.export(model), folder / "int8.xml"
    if not quantized.exists():
        run([python, str(script), str(source), str(folder / "calibration.npz"), str(quantized)])
    return {OPENVINO: ("openvino", source), OPENVINO_BF16: ("openvino_bfloat16", source), OPENVINO_INT8: ("openvino", quantized)}


def compare(model: str, name: str, want: Mapping[str, Array], got: Mapping[str, Array], figures: Figures) -> None:
    """Check the answer of a form in float32; record the SQNR of one in lower precision."""
    if name in (*LOWER, OPENVINO_BF16, OPENVINO_INT8):
        figures.sqnr_db[name] = sqnr_db(want, got)
    else:
        check(model, name, want, got)


def rows(model: str, figures: Figures) -> list[list[str]]:
    def pair(name: str) -> str:
        one, eight = (figures.latency(name, batch) for batch in BATCHES)
        return "–" if one is None or eight is None else f"{one:.2f} ({eight:.1f})"

    rates = [figures.throughput(name) for name in COLUMNS]
    noise = ", ".join(f"{figures.sqnr_db[name]:.1f}" for name in LOWER)
    return [
        [f"{model}, ms", *map(pair, COLUMNS), noise],
        [f"{model}, calls/s", *("–" if rate is None else f"{rate:.0f}" for rate in rates), ""],
    ]


def judge(results: Mapping[str, Figures], report: Report) -> None:
    """Add the verdicts: geometric means over the models, and the throughput in float32 on each model."""
    limit = round(1 / THROUGHPUT_FLOAT32_EACH, 2)
    for model, figures in results.items():
        value = _best(figures, [ONNX_RUNTIME]) / _best(figures, FLOATS)
        report.verdicts.append(Verdict(f"{model}: calls/s, {ONNX_RUNTIME} / float32", round(value, 2), limit, "", True))
    every = list(results.values())

    for theirs, gated, limit in (
        (ONNX_RUNTIME, False, THROUGHPUT_FLOAT32), (ONNX_RUNTIME, True, THROUGHPUT_BEST),
        (OPENVINO_BF16, True, THROUGHPUT_OF_BF16), (OPENVINO_INT8, True, THROUGHPUT_OF_INT8),
    ):  # fmt: skip
        known = [each for each in every if each.throughput(theirs)]
        ratios = [_best(each, [theirs]) / _best(each, each.gated() if gated else FLOATS) for each in known]
        if ratios:
            report.judge_mean(f"calls/s, {theirs} / best form{'' if gated else ' in float32'}", ratios, round(1 / limit, 2))
    for batch, gated, limit in ((1, False, LONE_FLOAT32), (1, True, LONE_BEST), (8, False, LONE_FLOAT32_BATCH_8)):
        ratios = [_quickest(each, each.gated() if gated else [SAVED_MODEL], batch) for each in every]
        form = "best form" if gated else "SavedModel in float32"
        report.judge_mean(f"lone client, batch {batch}: {form} / {ONNX_RUNTIME}", ratios, limit)


def _best(figures: Figures, names: Iterable[str]) -> float:
    return max(rate for name in names if (rate := figures.throughput(name)) is not None)


def _quickest(figures: Figures, names: Iterable[str], batch: int) -> float:
    """Return the ratio of the quickest form's time to ONNX Runtime's, over the rounds."""
    return min(ratio(figures.ms[batch], name, ONNX_RUNTIME) for name in names if name in figures.ms[batch])


if __name__ == "__main__":
    sys.exit(status_of(main))
