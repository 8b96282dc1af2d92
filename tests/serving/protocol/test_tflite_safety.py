"""Custom and Flex operators of .tflite files: what the runtime would run is judged, not what the file calls it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from serving.protocol.tflite_safety import unsafe_tflite_uses
from tests.hostile_models import custom_tflite


@pytest.fixture(scope="module")
def flex() -> bytes:
    """Return a file whose only operator is TensorFlow's Bincount."""

    @tf.function(input_signature=[tf.TensorSpec([4], tf.int32), tf.TensorSpec([], tf.int32), tf.TensorSpec([0], tf.float32)])
    def count(values: tf.Tensor, size: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        return tf.raw_ops.Bincount(arr=values, size=size, weights=weights)

    converter = tf.lite.TFLiteConverter.from_concrete_functions([count.get_concrete_function()])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.SELECT_TF_OPS]
    content: bytes = converter.convert()
    assert content.count(b"Bincount") >= 2
    return content


def found(content: bytes) -> list[str]:
    return [f"{use.name}: {use.why}" for use in unsafe_tflite_uses(content)]


def test_files_of_a_bundle_are_safe(small_bundle: Path) -> None:
    assert found((small_bundle / "tflite" / "mlp" / "1" / "mlp-float32.tflite").read_bytes()) == []


def test_a_flex_operator_that_computes_is_safe(flex: bytes) -> None:
    assert found(flex) == []


def test_a_flex_operator_that_reads_a_file_is_found(flex: bytes) -> None:
    assert found(flex.replace(b"Bincount", b"ReadFile")) == ["FlexReadFile: reads files"]


def test_the_node_of_a_flex_operator_counts_whatever_its_code_says(flex: bytes) -> None:
    first = flex.index(b"FlexBincount")
    hidden = flex.replace(b"Bincount", b"ReadFile")
    hidden = hidden[:first] + b"FlexBincount" + hidden[first + 12 :]
    assert found(hidden) == ["FlexBincount (ReadFile): reads files"]


def test_a_custom_operator_is_found() -> None:
    assert any("custom operator" in use and "ReadFile" in use for use in found(custom_tflite()))


@pytest.mark.parametrize("content", [b"", b"x" * 100, b"\xff\xff\xff\x7fTFL3" + b"\xff" * 64])
def test_bytes_that_are_no_tflite_file_are_an_error(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"damaged|identifier"):
        unsafe_tflite_uses(content)


def test_damage_anywhere_is_an_error_or_harmless(flex: bytes) -> None:
    draw = np.random.default_rng(0)
    for position in draw.integers(8, len(flex), 300):
        damaged = flex[:position] + bytes([int(draw.integers(256))]) + flex[position + 1 :]
        try:
            unsafe_tflite_uses(damaged)
        except ValueError:
            continue
