"""What does each fusion of the graph gain?

Measured: blocks of real networks with their surrounding layers and a dynamic batch, as an exporter without the fused operator
writes them, converted to a SavedModel with the fusion.
Peer: the same block converted without the fusion. Both must give the same answer, and take turns in one process.
Limit: over all cases of a fusion, the model with it takes at most 1.05 times as long as the one without (geometric mean of the
median ratios per round).
"""

from __future__ import annotations

import io
import os
import statistics
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import onnx
import tensorflow as tf
import torch
from torch import nn

from benchmarks.support.common import (
    BenchmarkError,
    Report,
    arguments,
    interleave,
    ratio,
    status_of,
    turn_of,
)
from bundler.converters.native.model import NativeModel
from bundler.graph.load import from_proto
from bundler.graph.normalize import FUSIONS, normalize

Module: TypeAlias = nn.Module
THREADS, CALLS = 2, 5
LIMIT = 1.05
TOLERANCE = 1e-3


class Formula(nn.Module):
    """A function as a layer."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.forward = function


class RMSNorm(nn.Module):
    """RMSNorm as in language models; the older exporter cannot export PyTorch's own."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))


class LayerScale(nn.Module):
    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.rand(shape))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.gamma


class Residual(nn.Module):
    def __init__(self, *layers: Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.layers(x)


@dataclass(frozen=True)
class Case:
    """A block and the shape of its input, without the batch."""

    label: str
    module: Module
    shape: tuple[int, ...]


def mlp(name: str, rows: int, width: int, approximate: str = "none") -> Case:
    layers = nn.Linear(width, 4 * width), nn.GELU(approximate), nn.Linear(4 * width, width)
    return Case(f"{name}, {rows} x {width}", nn.Sequential(*layers), (rows, width))


def between_linears(name: str, norm: type[Module], rows: int, width: int) -> Case:
    layers = nn.Linear(width, width), norm(width), nn.Linear(width, width)
    return Case(f"{name}, {rows} x {width}", Residual(*layers), (rows, width))


class SelfAttention(nn.Module):
    """Attention with one projection each for query, key and value, or with a single one for all, as in ViT."""

    def __init__(self, width: int, heads: int, *, at_once: bool) -> None:
        super().__init__()
        self.heads, self.size = heads, width // heads
        widths = [3 * width] if at_once else [width] * 3
        self.projections = nn.ModuleList(nn.Linear(width, outputs) for outputs in widths)
        self.last = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, _ = x.shape
        if len(self.projections) == 1:
            parts = self.projections[0](x).reshape(batch, length, 3, self.heads, self.size)
            query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)
        else:
            parts = (layer(x).view(batch, length, self.heads, self.size) for layer in self.projections)
            query, key, value = (part.transpose(1, 2) for part in parts)
        y = nn.functional.scaled_dot_product_attention(query, key, value)
        return self.last(y.transpose(1, 2).flatten(2))


def attention(name: str, rows: int, width: int, heads: int, *, at_once: bool) -> Case:
    return Case(f"{name}, {rows} x {width}", Residual(SelfAttention(width, heads, at_once=at_once)), (rows, width))


def group_norm(name: str, size: int, channels: int, groups: int) -> Case:
    """Return the two convolutions of a residual block of a diffusion U-Net."""
    layers = [
        layer
        for _ in range(2)
        for layer in (nn.GroupNorm(groups, channels), nn.SiLU(), nn.Conv2d(channels, channels, 3, padding=1))
    ]
    return Case(f"{name}, {size}x{size}x{channels}", Residual(*layers), (channels, size, size))


def hard_swish(size: int, inner: int, outer: int, *, relu6: bool) -> Case:
    """Return the expansion and the depthwise convolution of MobileNetV3."""
    gated = (lambda x: x * nn.functional.relu6(x + 3) / 6) if relu6 else (lambda x: x * nn.functional.hardsigmoid(x))
    layers = nn.Conv2d(inner, outer, 1), Formula(gated), nn.Conv2d(outer, outer, 3, padding=1, groups=outer), Formula(gated)
    return Case(f"{size}x{size}, {inner} -> {outer}", nn.Sequential(*layers), (inner, size, size))


def normalized(size: int, channels: int) -> Case:
    """Return a basic block of a ResNet."""
    layers = [
        nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU(),
        nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels),
    ]  # fmt: skip
    return Case(f"ResNet, {size}x{size}x{channels}", Residual(*layers), (channels, size, size))


def enlarged(size: int, inner: int, outer: int) -> Case:
    """Return a step of the decoder of a generator or U-Net."""
    layers = nn.ConvTranspose2d(inner, outer, 2, stride=2, bias=False), nn.BatchNorm2d(outer), nn.ReLU()
    return Case(f"ConvTranspose, {size}x{size}, {inner} -> {outer}", nn.Sequential(*layers), (inner, size, size))


def layer_scale(size: int, channels: int) -> Case:
    """Return the pointwise half of a ConvNeXt block."""
    layers = (
        nn.Conv2d(channels, 4 * channels, 1), nn.ReLU(), nn.Conv2d(4 * channels, channels, 1), LayerScale(channels, 1, 1)
    )  # fmt: skip
    return Case(f"ConvNeXt, {size}x{size}x{channels}", Residual(*layers), (channels, size, size))


def pointwise_first(size: int, inner: int, outer: int) -> Case:
    layers = nn.Conv2d(inner, inner, 3, padding=1), nn.Upsample(scale_factor=2.0, mode="bilinear"), nn.Conv2d(inner, outer, 1)
    return Case(f"{size}x{size}, {inner} -> {outer}", nn.Sequential(*layers), (inner, size, size))


FUSED: Mapping[str, Sequence[Callable[[], Case]]] = {
    "FuseGelu": [
        lambda: mlp("BERT", 64, 384), lambda: mlp("ViT", 197, 192), lambda: mlp("GPT-2's tanh", 64, 384, "tanh"),
    ],
    "FuseHardSwish": [
        lambda: hard_swish(56, 24, 72, relu6=True), lambda: hard_swish(14, 80, 240, relu6=True),
        lambda: hard_swish(7, 96, 576, relu6=False),
    ],
    "FuseLayerNorm": [
        lambda: between_linears("BERT", nn.LayerNorm, 64, 384), lambda: between_linears("ViT", nn.LayerNorm, 197, 192),
        lambda: between_linears("Swin", nn.LayerNorm, 3136, 96),
    ],
    "FuseRMSNorm": [
        lambda: between_linears("a small Llama", RMSNorm, 64, 384), lambda: between_linears("a longer text", RMSNorm, 512, 512),
    ],
    "FuseGroupNorm": [
        lambda: group_norm("U-Net, 8 groups", 64, 64, 8), lambda: group_norm("U-Net, 32 groups", 32, 128, 32),
        lambda: group_norm("U-Net, 32 groups", 16, 256, 32),
    ],
    "FuseLinear": [lambda: mlp("BERT", 64, 384), lambda: mlp("ViT", 197, 192)],
    "FuseAttention": [
        lambda: attention("BERT", 64, 384, 12, at_once=False), lambda: attention("ViT", 197, 192, 3, at_once=True),
        lambda: attention("a longer text", 256, 512, 8, at_once=False),
    ],
    "FoldBatchNorm": [lambda: normalized(56, 64), lambda: normalized(14, 128), lambda: enlarged(32, 64, 32)],
    "FoldScale": [lambda: layer_scale(56, 40), lambda: layer_scale(14, 160)],
    "PointwiseFirst": [lambda: pointwise_first(32, 64, 21), lambda: pointwise_first(64, 32, 16)],
}  # fmt: skip
"""Name of a pass -> its cases. DropCasts is not here: it only helps other passes, since TensorFlow removes such casts anyway."""


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("fusions", nargs="*", metavar="FUSION", help=f"default: {' '.join(FUSED)}")
    parser.add_argument("--rounds", type=int, default=25)
    args = parser.parse_args()
    report = Report(
        "Fusions, median ms (batch 1, 2 threads)", ["fusion", "case", "operators before", "after", "ms before", "after", "ratio"]
    )
    if args.one_row:
        measure("FuseLinear", mlp("BERT", 64, 384), 1, report)
        return report.finish(args)
    for name in args.fusions or FUSED:
        torch.manual_seed(0)
        ratios = [measure(name, make(), args.rounds, report) for make in FUSED[name]]
        report.judge_mean(f"{name}: after / before", ratios, LIMIT)
    return report.finish(args)


def measure(name: str, case: Case, rounds: int, report: Report) -> float:
    """Add a row to the table. Return the time of the model with the fusion divided by that of the one without."""
    model = export(case)
    with tempfile.TemporaryDirectory() as folder:
        sides = {side: convert(model, name, Path(folder), side) for side in ("before", "after")}
        if sides["before"].operators <= sides["after"].operators and name != "PointwiseFirst":
            raise BenchmarkError(f"{name} changes nothing in {case.label}")
        x = np.random.default_rng(0).standard_normal((1, *case.shape)).astype(np.float32)
        turns = {side: turn(converted.path, x) for side, converted in sides.items()}
    check(name, case, turns["before"].answer, turns["after"].answer)
    figures = interleave({side: t.run for side, t in turns.items()}, rounds)
    value = ratio(figures, "after", "before")
    medians = [f"{statistics.median(figures[side]):.3f}" for side in ("before", "after")]
    counts = [str(sides[side].operators) for side in ("before", "after")]
    report.rows.append([name, case.label, *counts, *medians, f"{value:.2f}"])
    report.data[f"{name}: {case.label}"] = figures
    return value


def export(case: Case) -> onnx.ModelProto:
    """Export with PyTorch's older exporter at opset 14, which has none of the fused operators.

    With TrainingMode.PRESERVE, it keeps every BatchNorm.
    """
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            randomized(case.module).eval(), (torch.randn(2, *case.shape),), file, opset_version=14, dynamo=False,
            input_names=["x"], output_names=["y"], dynamic_axes={"x": {0: "batch"}}, training=torch.onnx.TrainingMode.PRESERVE,
        )  # fmt: skip
    return onnx.load_from_string(file.getvalue())


def randomized(module: Module) -> Module:
    """Draw statistics and scales as in a trained model; a BatchNorm of zeros and ones would prove nothing."""
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.running_mean), nn.init.uniform_(layer.running_var, 0.5, 2.0)
        if isinstance(layer, (nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm)):
            nn.init.uniform_(layer.weight, 0.5, 2.0), nn.init.uniform_(layer.bias)
    return module


@dataclass(frozen=True)
class Converted:
    """A SavedModel, and the number of operators of its ONNX graph."""

    path: Path
    operators: int


def convert(model: onnx.ModelProto, name: str, folder: Path, side: str) -> Converted:
    """Convert with the fusion (`after`) or without it (`before`)."""
    fusions = [fusion for fusion in FUSIONS if side == "after" or fusion.__name__ != name]
    graph = normalize(from_proto(model), fusions)
    operators = len(list(graph.graph))
    NativeModel({"serving_default": graph}).save(folder / side)
    return Converted(folder / side, operators)


@dataclass(frozen=True)
class Turn:
    """A turn for `interleave`, and the answer of the model."""

    run: Callable[[], float]
    answer: Any


def turn(path: Path, x: Any) -> Turn:
    """Load the SavedModel in a separate session, and warm it up."""
    v1 = tf.compat.v1
    settings = v1.ConfigProto(intra_op_parallelism_threads=THREADS, inter_op_parallelism_threads=THREADS)
    session = v1.Session(graph=tf.Graph(), config=settings)
    with session.graph.as_default():
        signature = v1.saved_model.load(session, ["serve"], str(path)).signature_def["serving_default"]
    call = session.make_callable(signature.outputs["y"].name, [signature.inputs["x"].name])

    run = turn_of(lambda: call(x), CALLS)
    for _ in range(3):
        run()
    return Turn(run, call(x))


def check(name: str, case: Case, before: Any, after: Any) -> None:
    """Raise if the two answers differ, since the time of a wrong answer means nothing.

    Raises:
        BenchmarkError: the difference is larger than TOLERANCE, relative to the largest value.
    """
    error = float(np.abs(before - after).max() / np.abs(before).max())
    if not error <= TOLERANCE:
        raise BenchmarkError(f"{name} changes the answer of {case.label} by {error:.2g} of the largest value")


if __name__ == "__main__":
    sys.exit(status_of(main))
