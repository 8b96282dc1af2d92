"""What do the checks of input shapes cost?

Measured: SavedModels whose graphs check the fixed dims of their inputs and that dims of one name are equal, called as the server
calls them, with a batch of 1. The figure is processor time, which a busy machine changes less than the time on the wall clock.
Peer: the same models without the checks. Both take turns in one process with two threads.
Limit: over all cases, the model with the checks takes at most 1.01 times as long (geometric mean of the median ratios per round).
"""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import onnx
import tensorflow as tf
import torch
from tensorflow.core.protobuf import config_pb2
from torch import Tensor, nn

from benchmarks.support.common import Report, arguments, interleave, ratio, status_of, turn_of
from bundler.converters.native.model import NativeModel
from bundler.graph.load import from_proto
from bundler.graph.normalize import normalize

THREADS = 2
LIMIT = 1.01
TURN_MS = 20.0
"""How long a turn should take."""


@dataclass(frozen=True)
class Case:
    """A model with example inputs and the names of their dynamic dims by axis."""

    label: str
    module: nn.Module
    inputs: Mapping[str, Tensor]
    dims: Mapping[int, str]


class Encoder(nn.Module):
    """Tokens and a mask to one vector per text."""

    def __init__(self, layers: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(1000, width)
        layer = nn.TransformerEncoderLayer(width, 4, 4 * width, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False) if layers else nn.Identity()
        self.head = nn.Linear(width, 8)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        weights = mask[..., None].float()
        tokens = self.layers(self.embedding(ids))
        return self.head((tokens * weights).sum(1) / weights.sum(1))


class Network(nn.Module):
    """A convolutional classifier."""

    def __init__(self, *widths: int, classes: int = 10) -> None:
        super().__init__()
        blocks = [
            layer
            for inner, outer in itertools.pairwise(widths)
            for layer in (nn.Conv2d(inner, outer, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
        ]
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(widths[-1], classes)

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.blocks(image).mean((2, 3)))


def image(label: str, size: int, *widths: int) -> Case:
    return Case(
        f"{label}, {size}x{size}", Network(*widths), {"image": torch.randn(1, widths[0], size, size)}, {0: "batch"}
    )


def text(label: str, length: int, layers: int, width: int) -> Case:
    ids, mask = torch.randint(0, 1000, (1, length)), torch.ones(1, length, dtype=torch.int64)
    return Case(f"{label}, {length} tokens", Encoder(layers, width), {"ids": ids, "mask": mask}, {0: "batch", 1: "seq"})


CASES: tuple[Callable[[], Case], ...] = (
    lambda: image("digits", 8, 1, 16, 32, 64),
    lambda: image("photos", 128, 3, 32, 64, 128, 256),
    lambda: text("text, 1 layer of width 128", 32, 1, 128),
    lambda: text("text, 4 layers of width 256", 64, 4, 256),
)


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    args = parser.parse_args()
    report = Report("Checks of input shapes (batch 1, 2 threads)", ["model", "ms without", "ms with", "ratio"])
    torch.manual_seed(0)
    ratios = [
        measure(make(), 1 if args.one_row else args.rounds, report) for make in CASES[: 1 if args.one_row else None]
    ]
    report.judge_mean("with the checks / without", ratios, LIMIT)
    return report.finish(args)


def measure(case: Case, rounds: int, report: Report) -> float:
    """Add a row to the table. Return the time of the model with the checks divided by that of the one without."""
    model = export(case)
    with tempfile.TemporaryDirectory() as folder:
        turns = {
            side: turn(save(model, Path(folder, side), checked=side == "with"), case) for side in ("without", "with")
        }
    figures = interleave(turns, rounds)
    value = ratio(figures, "with", "without")
    medians = [f"{statistics.median(figures[side]):.3f}" for side in ("without", "with")]
    report.rows.append([case.label, *medians, f"{value:.3f}"])
    report.data[case.label] = figures
    return value


def export(case: Case) -> onnx.ModelProto:
    file = io.BytesIO()
    axes = {name: dict(case.dims) for name in case.inputs}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            case.module.eval(), tuple(case.inputs.values()), file, opset_version=17, dynamo=False,
            input_names=list(case.inputs), output_names=["y"], dynamic_axes=axes,
        )  # fmt: skip
    return onnx.load_from_string(file.getvalue())


def save(model: onnx.ModelProto, folder: Path, *, checked: bool) -> Path:
    """Convert a model with or without the checks and return the folder of its SavedModel."""
    without = mock.patch("bundler.converters.native.model.guarded", lambda tensors, specs: tensors)
    with contextlib.nullcontext() if checked else without:
        NativeModel({"serving_default": normalize(from_proto(model))}).save(folder)
    return folder


def turn(folder: Path, case: Case) -> Callable[[], float]:
    """Load a SavedModel in a session of its own and return its turns, each of about TURN_MS."""
    v1 = tf.compat.v1
    settings = v1.ConfigProto(intra_op_parallelism_threads=THREADS, inter_op_parallelism_threads=THREADS)
    session = v1.Session(graph=tf.Graph(), config=settings)
    with session.graph.as_default():
        signature = v1.saved_model.load(session, ["serve"], str(folder)).signature_def["serving_default"]
    feeds = [signature.inputs[name].name for name in case.inputs]
    options = config_pb2.CallableOptions(feed=feeds, fetch=[signature.outputs["y"].name])
    call = session._make_callable_from_options(options)
    arrays: list[Any] = [tensor.numpy() for tensor in case.inputs.values()]
    trial = turn_of(lambda: call(*arrays), 20, time.process_time)
    milliseconds = min(trial() for _ in range(5))
    return turn_of(lambda: call(*arrays), max(1, round(TURN_MS / milliseconds)), time.process_time)


if __name__ == "__main__":
    sys.exit(status_of(main))
