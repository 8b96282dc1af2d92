"""One model written by hand in PyTorch, ONNX and TensorFlow, so that each can be made wrong on its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.numpy_helper
import onnx.parser
import tensorflow as tf
import torch
from torch.nn import functional

from bundler.values.arrays import Array
from bundler.values.exported import PYTORCH, Referee
from bundler.values.signature import Signature, TensorSpec

SIGNATURE = Signature(
    (TensorSpec.parse("image=float32[batch,3,8,8]"), TensorSpec.parse("ids=int64[batch,seq]")),
    (TensorSpec.parse("logits=float32[batch,4]"), TensorSpec.parse("label=int64[batch]")),
)

GRAPH = """
<ir_version: 10, opset_import: ["" : 18]>
two_heads (float[batch,3,8,8] image, int64[batch,seq] ids) => (float[batch,4] logits, int64[batch] label)
<int64[2] space = {2, 3}, int64[1] rows = {1}, int64[1] zero = {0}, int64[1] one = {1}>
{
    features = Conv<pads = [1, 1, 1, 1]>(image, kernel, bias)
    active = Relu(features)
    pooled = ReduceMean<keepdims = 0>(active, space)
    words = Gather(words_table, ids)
    length = Shape<start = 1, end = 2>(ids)
    places = Slice(places_table, zero, length, zero)
    placed = Add(words, places)
    text = ReduceMean<keepdims = 0>(placed, rows)
    both = Add(pooled, text)
    logits = MatMul(both, head)
    label = ArgMax<axis = 1, keepdims = 0>(logits)
}
"""

STACK = 'File "/home/ana/model.py", line 12, in forward\n    x = self.relu(self.conv(image))'


def weights() -> dict[str, Array]:
    """Return the weights. The table of places has 12 rows: longer sequences are refused."""
    rng = np.random.default_rng(0)
    shapes = {
        "kernel": (8, 3, 3, 3), "bias": (8,), "words_table": (20, 8), "places_table": (12, 8), "head": (8, 4),
    }  # fmt: skip
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def slightly_wrong(name: str) -> dict[str, Array]:
    """Return one of the weights, with an error of 1 %."""
    return {name: weights()[name] * np.float32(1.01)}


def examples() -> dict[str, Array]:
    rng = np.random.default_rng(1)
    return {"image": rng.random((2, 3, 8, 8), np.float32), "ids": rng.integers(0, 20, (2, 10))}


def pytorch(inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Compute the reference outputs."""
    w = {name: torch.from_numpy(array) for name, array in weights().items()}
    image, ids = torch.from_numpy(inputs["image"]), torch.from_numpy(inputs["ids"])
    pooled = functional.conv2d(image, w["kernel"], w["bias"], padding=1).relu().mean((2, 3))
    text = (w["words_table"][ids] + w["places_table"][: ids.shape[1]]).mean(1)
    logits = (pooled + text) @ w["head"]
    return {"logits": logits.numpy(), "label": logits.argmax(1).numpy()}


@dataclass
class Exported:
    """A stand-in for bundler.values.exported.ExportedSignature."""

    onnx: Path
    name: str = "serving_default"
    signature: Signature = SIGNATURE
    examples: dict[str, Array] = field(default_factory=examples)
    reference: Any = pytorch
    referee: Referee = PYTORCH


def exported(path: Path, **changed: Array) -> Exported:
    """Write the model as an .onnx file; `changed` replaces weights to make the export wrong."""
    model = onnx.parser.parse_model(GRAPH)
    for name, array in (weights() | changed).items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    for node in model.graph.node:
        node.name = f"node_{node.output[0]}"
        node.metadata_props.append(onnx.StringStringEntryProto(key="pkg.torch.onnx.stack_trace", value=STACK))
    onnx.save(model, str(path))
    return Exported(path)


class Converted(tf.Module):  # type: ignore[misc]
    """The model in TensorFlow, as a ConvertedModel; `changed` replaces weights to make the conversion wrong."""

    def __init__(self, *, nhwc: bool = False, **changed: Array) -> None:
        super().__init__()
        self.w = {name: tf.Variable(array) for name, array in (weights() | changed).items()}
        self._nhwc = nhwc

    # Properties: tf.Module would track the dicts, and SavedModel reserves the name `signatures`.
    @property
    def permutations(self) -> Mapping[str, tuple[int, ...]]:
        return {"image": (0, 2, 3, 1)} if self._nhwc else {}

    @property
    def signatures(self) -> Mapping[str, Signature]:
        return {"serving_default": SIGNATURE}

    def __call__(self, image: Any, ids: Any) -> dict[str, Any]:
        kernel = tf.transpose(self.w["kernel"], (2, 3, 1, 0))
        pixels = image if self._nhwc else tf.transpose(image, (0, 2, 3, 1))
        features = tf.nn.bias_add(tf.nn.conv2d(pixels, kernel, 1, "SAME"), self.w["bias"])
        pooled = tf.reduce_mean(tf.nn.relu(features), (1, 2))
        places = self.w["places_table"][: tf.shape(ids)[1]]
        text = tf.reduce_mean(tf.gather(self.w["words_table"], ids) + places, 1)
        logits = tf.matmul(pooled + text, self.w["head"])
        return {"logits": logits, "label": tf.argmax(logits, 1)}

    def _function(self, image: tuple[int | None, ...], ids: tuple[int | None, ...]) -> Any:
        specs = {
            "image": tf.TensorSpec(image, tf.float32, "image"),
            "ids": tf.TensorSpec(ids, tf.int64, "ids"),
        }
        return tf.function(self.__call__).get_concrete_function(**specs)

    def static(self, shapes: Mapping[str, tuple[int, ...]]) -> Any:
        return self._function(shapes["image"], shapes["ids"])

    def save(self, path: Path) -> None:
        image = (None, 8, 8, 3) if self._nhwc else (None, 3, 8, 8)
        function = self._function(image, (None, None))
        tf.saved_model.save(self, str(path), signatures={"serving_default": function})
