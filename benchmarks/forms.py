"""Does the engine choose the fastest form of an operator?

Measured: every form that the engine chooses between by shape, as a separate graph over random weights, followed by the operators
that TensorFlow's optimiser fuses with it in a model.
Peers: the other forms. They take turns in one process with two threads.
Limit: over all cases of a choice, the chosen form takes at most 1.1 times as long as the best one (geometric mean).
"""

from __future__ import annotations

import os
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

from benchmarks.support.common import Report, arguments, interleave, status_of, turn_of

Tensor: TypeAlias = Any
THREADS, CALLS = 2, 3
LIMIT = 1.1


@dataclass(frozen=True)
class Case:
    """One size: the forms by name, and the name of the form that the engine chooses."""

    label: str
    forms: Mapping[str, Callable[[], Tensor]]
    chosen: str


def weight(*shape: int) -> Tensor:
    """Add a variable with small random numbers to the graph."""
    values = np.random.default_rng(0).standard_normal(shape).astype(np.float32) * 0.05
    number = len(tf.compat.v1.global_variables())
    return tf.compat.v1.get_variable(f"weight{number}", initializer=values, use_resource=True)


def constant(*shape: int) -> Tensor:
    return tf.constant(np.random.default_rng(1).standard_normal(shape).astype(np.float32) * 0.05)


def pointwise(size: int, inner: int, outer: int, *, gelu: bool = False) -> Case:
    from bundler.converters.native.ops.pointwise import FEW_PIXELS

    after = (lambda x: tf.nn.gelu(x, False)) if gelu else tf.nn.relu

    def convolution() -> Tensor:
        image = tf.nn.conv2d(weight(1, size, size, inner), weight(1, 1, inner, outer), 1, "VALID")
        return after(tf.nn.bias_add(image, weight(outer)))

    def product() -> Tensor:
        rows = tf.matmul(tf.reshape(weight(1, size, size, inner), [-1, inner]), weight(inner, outer))
        return tf.reshape(after(tf.nn.bias_add(rows, weight(outer))), [1, size, size, outer])

    few = gelu or size * size <= FEW_PIXELS
    label = f"{size}x{size}, {inner} -> {outer}" + (", Gelu" if gelu else "")
    return Case(label, {"Conv2D": convolution, "MatMul": product}, "MatMul" if few else "Conv2D")


def head(size: int, inner: int, outer: int) -> Case:
    def moved() -> Tensor:
        image = tf.nn.conv2d(weight(1, size, size, inner), weight(1, 1, inner, outer), 1, "VALID")
        return tf.transpose(tf.nn.bias_add(image, weight(outer)), [0, 3, 1, 2])

    def direct() -> Tensor:
        data = tf.reshape(weight(1, size, size, inner), [1, -1, inner])
        product = tf.matmul(weight(outer, inner), data, transpose_b=True) + weight(outer, 1)
        return tf.reshape(product, [1, outer, size, size])

    forms = {"Conv2D + Transpose": moved, "MatMul": direct}
    return Case(f"{size}x{size}, {inner} -> {outer}", forms, "MatMul")


def concatenated(size: int, channels: int) -> Case:
    from bundler.converters.native.ops.conv import MANY_PIXELS

    def parts() -> tuple[Tensor, Tensor]:
        return weight(1, size, size, channels), weight(1, size, size, channels)

    def joined() -> Tensor:
        image = tf.nn.conv2d(tf.concat(parts(), -1), weight(3, 3, 2 * channels, channels), 1, "SAME")
        return tf.nn.relu(tf.nn.bias_add(image, weight(channels)))

    def separate() -> Tensor:
        first, second = (tf.nn.conv2d(part, weight(3, 3, channels, channels), 1, "SAME") for part in parts())
        return tf.nn.relu(tf.add_n([tf.nn.bias_add(second, weight(channels)), first]))

    chosen = "two Conv2D" if size * size >= MANY_PIXELS else "Concat + Conv2D"
    return Case(f"{size}x{size}, 2 x {channels} -> {channels}", {"Concat + Conv2D": joined, "two Conv2D": separate}, chosen)


def enlarged(size: int, inner: int, outer: int) -> Case:
    from bundler.converters.native.ops.pointwise import FEW_PIXELS

    def backprop() -> Tensor:
        shape = [1, 2 * size, 2 * size, outer]
        image = tf.nn.conv2d_transpose(weight(1, size, size, inner), weight(2, 2, outer, inner), shape, 2, "VALID")
        return tf.nn.bias_add(image, weight(outer))

    def blocks(data: Tensor) -> Tensor:
        return tf.nn.depth_to_space(tf.reshape(data, [1, size, size, 4 * outer]), 2)

    def product() -> Tensor:
        rows = tf.matmul(tf.reshape(weight(1, size, size, inner), [-1, inner]), weight(inner, 4 * outer))
        return blocks(tf.nn.bias_add(rows, weight(4 * outer)))

    def convolution() -> Tensor:
        image = tf.nn.conv2d(weight(1, size, size, inner), weight(1, 1, inner, 4 * outer), 1, "VALID")
        return blocks(tf.nn.bias_add(image, weight(4 * outer)))

    forms = {"Conv2DBackpropInput": backprop, "MatMul": product, "Conv2D": convolution}
    return Case(f"{size}x{size}, {inner} -> {outer}", forms, "MatMul" if size * size <= FEW_PIXELS else "Conv2D")


def heads(length: int, count: int, width: int) -> Case:
    def between_relus(move: Callable[[Tensor], Tensor]) -> Callable[[], Tensor]:
        return lambda: tf.nn.relu(move(tf.nn.relu(weight(1, length, count, width))))

    transpose = between_relus(lambda x: tf.transpose(x, [0, 2, 1, 3]))
    einsum = between_relus(lambda x: tf.raw_ops.Einsum(inputs=[x], equation="abcd->acbd"))
    return Case(f"{length} x {count} x {width}", {"Transpose": transpose, "Einsum": einsum}, "Einsum")


def layer_norm(rows: int, width: int) -> Case:
    from bundler.converters.native.ops.normalize import MANY_ELEMENTS

    def ours(x: Tensor) -> Tensor:
        centred = x - tf.reduce_mean(x, [1], keepdims=True)
        variance = tf.reduce_mean(tf.square(centred), [1], keepdims=True)
        return centred * tf.math.rsqrt(variance + 1e-5) * constant(width) + constant(width)

    def kernel(x: Tensor) -> Tensor:
        x = x * 10.0
        mean = tf.reduce_mean(x, [1], keepdims=True)
        variance = tf.reduce_mean(tf.math.squared_difference(x, mean), [1], keepdims=True)
        factor = tf.math.rsqrt(variance + 1e-3) * constant(width)
        return x * factor + (constant(width) - factor * mean)

    def between_relus(form: Callable[[Tensor], Tensor]) -> Callable[[], Tensor]:
        return lambda: tf.nn.relu(form(tf.nn.relu(weight(rows, width))))

    forms = {"small kernels": between_relus(ours), "oneDNN's kernel": between_relus(kernel)}
    return Case(f"{rows} x {width}", forms, "oneDNN's kernel" if rows * width >= MANY_ELEMENTS else "small kernels")


CHOICES: Mapping[str, Sequence[Case]] = {
    "1x1 convolution": [
        *(pointwise(*c) for c in ((128, 32, 16), (64, 64, 32), (56, 96, 24), (56, 24, 144))),
        *(pointwise(*c) for c in ((28, 96, 24), (28, 40, 240), (14, 240, 40), (14, 40, 120), (7, 96, 576), (7, 576, 96))),
        pointwise(56, 40, 160, gelu=True), pointwise(28, 80, 320, gelu=True),
    ],
    "1x1 convolution with a channels-first result": [head(128, 16, 2), head(80, 128, 85), head(20, 256, 255)],
    "3x3 convolution of a concatenation": [
        concatenated(*c) for c in ((128, 16), (128, 32), (64, 32), (64, 64), (32, 32), (16, 64))
    ],
    "2x2 transposed convolution of stride 2": [enlarged(*c) for c in ((16, 512, 256), (32, 64, 32), (64, 32, 16), (64, 128, 64))],
    "attention's heads": [heads(64, 12, 32), heads(197, 3, 64), heads(128, 12, 64)],
    "LayerNormalization": [layer_norm(*c) for c in ((49, 320), (64, 384), (197, 192), (784, 80), (3136, 40), (12544, 32))],
}  # fmt: skip


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    report = Report(
        "Forms of operators, median ms (batch 1, 2 threads)", ["choice", "case", "forms", "chosen", "chosen / best"]
    )
    choices = {"attention's heads": [heads(64, 12, 32)]} if args.one_row else CHOICES
    for choice, cases in choices.items():
        ratios = [measure(choice, case, args.rounds, report) for case in cases]
        report.judge_mean(f"{choice}: chosen / best", ratios, LIMIT)
    return report.finish(args)


def measure(choice: str, case: Case, rounds: int, report: Report) -> float:
    """Add a row to the table. Return the time of the chosen form divided by that of the best one."""
    figures = interleave({name: turn(build) for name, build in case.forms.items()}, rounds)
    medians = {name: statistics.median(values) for name, values in figures.items()}
    value = medians[case.chosen] / min(medians.values())
    listed = ", ".join(f"{name} {median:.3f}" for name, median in medians.items())
    report.rows.append([choice, case.label, listed, case.chosen, f"{value:.2f}"])
    report.data[f"{choice}: {case.label}"] = figures
    return value


def turn(build: Callable[[], Tensor]) -> Callable[[], float]:
    """Return a turn for `interleave` that runs the form, as a graph in a session that is warmed up."""
    v1 = tf.compat.v1
    settings = v1.ConfigProto(intra_op_parallelism_threads=THREADS, inter_op_parallelism_threads=THREADS)
    with tf.Graph().as_default() as graph:
        operation = build().op
        session = v1.Session(graph=graph, config=settings)
        session.run(v1.global_variables_initializer())
        call = session.make_callable(operation)

    for _ in range(5):
        call()
    return turn_of(call, CALLS)


if __name__ == "__main__":
    sys.exit(status_of(main))
