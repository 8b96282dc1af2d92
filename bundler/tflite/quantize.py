"""int8 files from one calibration: the float file with its ranges is made once, each int8 form of it in a moment.

These are the two halves of TensorFlow's own post-training quantization (`TFLiteConverter._quantize`), taken apart as
`tf.lite.experimental.QuantizationDebugger` takes them apart: its `denylisted_nodes` are the layers that stay float.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, Literal

from bundler.errors import TfliteError
from bundler.process.stderr import captured_stderr
from bundler.tflite import contents
from bundler.tflite.recurrent import start_from_zero
from bundler.tflite.variants import converting, float_converter

Samples = Callable[[], Iterator[Any]]
Ends = Literal["float32", "int8", "uint8"]


def calibrate(folder: Path, signatures: Collection[str], samples: Samples, *, select_tf_ops: bool = False) -> bytes:
    """The SavedModel of `write_static` as a float .tflite file that knows the range of every tensor.

    Args:
        samples: makes an iterator over inputs by name, each with its signature where there are several.

    Raises:
        TfliteError: why the converter stopped.
    """
    import tensorflow as tf

    with converting("int8"):
        converter = float_converter(folder, signatures, select_tf_ops=select_tf_ops)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = samples
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8, *converter.target_spec.supported_ops]
        converter._experimental_calibrate_only = True  # as the QuantizationDebugger sets it
        return bytes(converter.convert())


def quantize(calibrated: bytes, float_layers: Collection[str] = (), ends: Ends = "float32") -> bytes:
    """The calibrated file in int8.

    Args:
        float_layers: names of the tensors whose operators stay float (`contents.TfliteOperator.tensor`).
        ends: the type of inputs and outputs that are float in the model.

    Raises:
        TfliteError: why the quantizer stopped; for integer ends: an operator that has no int8 kernel.
    """
    import tensorflow as tf
    from tensorflow.lite.python import convert

    data_type = tf.as_dtype(ends)
    with converting("int8"), captured_stderr():
        made = convert.mlir_quantize(
            calibrated,
            input_data_type=data_type,
            output_data_type=data_type,
            denylisted_nodes=sorted(float_layers),
        )
        file = start_from_zero(bytes(convert.deduplicate_readonly_buffers(made)))
    if ends != "float32":
        _check_integer(file)
    return file


def layers(calibrated: bytes) -> tuple[contents.TfliteOperator, ...]:
    """The operators that can be quantized or stay float, each tensor's name once."""
    found: dict[str, contents.TfliteOperator] = {}
    for operator in contents.operators_of(calibrated):
        if operator.is_float:
            found.setdefault(operator.tensor, operator)
    return tuple(found.values())


def _check_integer(file: bytes) -> None:
    left = [operator for operator in contents.operators_of(file) if operator.is_float]
    if left:
        named = "\n".join(f"  {operator.name} in {operator.tensor.partition('/')[0]}" for operator in left[:8])
        more = f"\n  and {len(left) - 8} more" if len(left) > 8 else ""
        raise TfliteError(
            f"The int8-io TFLite file would not be integer throughout: no int8 kernel for these operators.\n{named}{more}",
            fix="take int8 or mix, in which they stay float, or write these layers with other operators",
        )
