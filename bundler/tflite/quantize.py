"""Makes int8 files from one calibration: the float file with ranges is made once, and each int8 form of it quickly.

These are the two halves of TensorFlow's post-training quantization (`TFLiteConverter._quantize`), separated as
`tf.lite.experimental.QuantizationDebugger` separates them: its `denylisted_nodes` are the layers that stay float.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Literal

from bundler.errors import TfliteError
from bundler.tflite import contents
from bundler.tflite.recurrent import start_from_zero
from bundler.tflite.variants import SampleSource, converting, float_converter
from serving.stderr import captured_stderr

IoType = Literal["float32", "int8", "uint8"]


def calibrate(folder: Path, signatures: Collection[str], samples: SampleSource, *, select_tf_ops: bool = False) -> bytes:
    """Convert a SavedModel to a float .tflite file that holds the range of every tensor.

    Args:
        folder: the SavedModel of `write_signatures`.
        signatures: names of its signatures.
        samples: the calibration samples.
        select_tf_ops: let TensorFlow's own kernels compute what TFLite has no operator for.

    Raises:
        TfliteError: the converter fails.
    """
    import tensorflow as tf

    with converting("int8"):
        converter = float_converter(folder, signatures, select_tf_ops=select_tf_ops)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = samples
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8, *converter.target_spec.supported_ops]
        converter._experimental_calibrate_only = True  # as QuantizationDebugger does
        return bytes(converter.convert())


def quantize(calibrated: bytes, float_layers: Collection[str] = (), io_type: IoType = "float32") -> bytes:
    """Quantize a calibrated file to int8.

    Args:
        calibrated: content of the file that `calibrate` returned.
        float_layers: names of the tensors whose operators stay float (`contents.TfliteOperator.tensor`).
        io_type: the type of inputs and outputs that are float in the model.

    Raises:
        TfliteError: the quantizer fails, or `io_type` is an integer type and an operator has no int8 kernel.
    """
    import tensorflow as tf
    from tensorflow.lite.python import convert

    data_type = tf.as_dtype(io_type)
    with converting("int8"), captured_stderr():
        quantized = convert.mlir_quantize(
            calibrated,
            input_data_type=data_type,
            output_data_type=data_type,
            denylisted_nodes=sorted(float_layers),
        )
        file = start_from_zero(bytes(convert.deduplicate_readonly_buffers(quantized)))
    if io_type != "float32":
        _check_integer(file)
    return file


def layers(calibrated: bytes) -> tuple[contents.TfliteOperator, ...]:
    """Return the operators that can be int8 or float, one for each tensor name."""
    by_tensor: dict[str, contents.TfliteOperator] = {}
    for operator in contents.operators_of(calibrated):
        if operator.is_float:
            by_tensor.setdefault(operator.tensor, operator)
    return tuple(by_tensor.values())


def _check_integer(file: bytes) -> None:
    floats = [operator for operator in contents.operators_of(file) if operator.is_float]
    if floats:
        named = "\n".join(f"  {operator.name} in {operator.tensor.partition('/')[0]}" for operator in floats[:8])
        more = f"\n  and {len(floats) - 8} more" if len(floats) > 8 else ""
        raise TfliteError(
            f"The int8-io TFLite file would not be integer throughout: no int8 kernel for these operators.\n{named}{more}",
            fix="use int8 or mix, in which they stay float, or write these layers with other operators",
            code="TFB4202",
        )
