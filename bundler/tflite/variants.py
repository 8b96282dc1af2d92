"""The TFLite variants: their settings for TensorFlow's converter, and the conversion.

| variant | weights | computation | input and output |
|---|---|---|---|
| float32 | float32 | float32 | the model's |
| float16 | float16, half the size | float32 (float16 on a GPU delegate) | the model's |
| dynamic | int8, a quarter of the size | int8 products with ranges measured at run time, else float32 | the model's |
| int8 | int8 | int8 with ranges from calibration, where XNNPACK is fast in int8; the rest float32 (`placement`) | the model's |
| int8-full | int8 | int8 with ranges from calibration; operators without an int8 kernel stay float32 | the model's |
| int8-io | int8 | int8 throughout | int8 or uint8 in place of the model's floats |
| int16x8 | int8 | int16 activations with ranges from calibration; operators without such a kernel stay float32 | the model's |
| int4 | int4, of embeddings and fully connected layers (`bundler.tflite.int4`) | int8 products with ranges measured at run time,
  else float32 | the model's |
| mix | int8 and float32 | as int8, except for the layers that stay float32 | the model's |

A build makes the int8 forms with `bundler.tflite.quantize`, from one calibration. A model that is already quantized
(`bundler.graph.quantized_source`) keeps its own scales in float16, dynamic and int8, which are then identical; in float32 its
values are rounded to these scales between float32 operators.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bundler.converters.signature_names import restore
from bundler.errors import TfliteError
from bundler.process.causes import cause_of
from bundler.saved_model.summarize import is_quantized
from bundler.spec.bundle_spec import TfliteVariant
from bundler.tflite.recurrent import start_from_zero
from bundler.values.converted import SERVING_DEFAULT
from serving.stderr import captured_stderr

SampleSource = Callable[[], Iterator[Any]]
"""Returns an iterator over inputs by name, each paired with its signature if there are several signatures."""

_INTEGER: Mapping[str, str] = {
    "int8": "TFLITE_BUILTINS_INT8",
    "int16x8": "EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8",
}


def write_static(function: Any, names: Iterable[str], folder: Path) -> None:
    """Write serving_default alone (see `write_signatures`)."""
    write_signatures({SERVING_DEFAULT: function}, names, folder)


def write_signatures(functions: Mapping[str, Any], names: Iterable[str], folder: Path) -> None:
    """Write ConcreteFunctions with static shapes as the SavedModel from which all variants are converted.

    The converter takes the names of inputs from the SavedModel's signature; no other format can hold all names.

    Args:
        functions: results of `ConvertedModel.static`, by signature. The owner of their variables must be alive.
        names: names of the inputs, in their order.
        folder: the new folder of the SavedModel.
    """
    import tensorflow as tf

    owner = tf.Module()
    owner.captured = list({id(v): v for f in functions.values() for v in f.variables}.values())
    with captured_stderr():
        tf.saved_model.save(owner, str(folder), signatures=dict(functions))
    ordered = list(names)
    restore(folder, dict.fromkeys(functions, ordered))


def convert(
    folder: Path,
    variant: TfliteVariant,
    samples: SampleSource | None = None,
    *,
    signatures: Collection[str] = (SERVING_DEFAULT,),
    select_tf_ops: bool = False,
    per_tensor_dense: bool = False,
) -> bytes:
    """Convert a SavedModel to a .tflite file with the same names in its signatures.

    Args:
        folder: the SavedModel of `write_signatures`.
        variant: any variant except int8-full, int8-io and mix, which `bundler.tflite.quantize` makes, and int4.
        samples: the calibration samples for int8 and int16x8; not used for the int8 file of a model that has its own scales.
        signatures: names of the signatures.
        select_tf_ops: let TensorFlow's own kernels compute what TFLite has no operator for.
        per_tensor_dense: give int8 weights of dense layers one scale instead of one for each channel, in `dynamic`.

    Returns:
        The file's content.

    Raises:
        TfliteError: TFLite lacks operators, which the message names with their layers, or the converter fails.
    """
    with converting(variant):
        converter = float_converter(folder, signatures, select_tf_ops=select_tf_ops)
        if variant == "dynamic":
            converter._experimental_disable_per_channel_quantization_for_dense_layers = per_tensor_dense
        _configure(converter, variant, None if variant == "int8" and is_quantized(folder) else samples)
        return start_from_zero(bytes(converter.convert()))


def float_converter(folder: Path, signatures: Collection[str], *, select_tf_ops: bool) -> Any:
    """Return a converter to float32, to be run within `converting`."""
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(str(folder), signature_keys=list(signatures))
    select = [tf.lite.OpsSet.SELECT_TF_OPS] if select_tf_ops else []
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS, *select]
    return converter


@contextmanager
def converting(variant: str) -> Iterator[None]:
    """Convert errors of TensorFlow's converter in the block to a TfliteError.

    Raises:
        TfliteError: TFLite lacks operators, which the message names with their layers, or the converter fails.
    """
    import tensorflow as tf
    from tensorflow.lite.python.convert_phase import ConverterError

    # ValueError and RuntimeError come from the Python side and from the quantizer.
    try:
        with captured_stderr() as noise, warnings.catch_warnings():
            # TensorFlow's own calibrator still runs on tf.lite.Interpreter.
            warnings.filterwarnings("ignore", message=r"\s*Warning: tf\.lite\.Interpreter is deprecated")
            yield
    except ConverterError as exc:
        raise _converter_error(exc, variant) from exc
    except (ValueError, RuntimeError, tf.errors.OpError) as exc:
        raise TfliteError(
            f"The {variant} TFLite file could not be built: {_reason(exc, noise.text)}",
            fix="run with --debug for TensorFlow's full report, or leave this variant out of --tflite",
            code="TFB4203",
        ) from exc


def _configure(converter: Any, variant: TfliteVariant, samples: SampleSource | None) -> None:
    import tensorflow as tf

    if variant == "float32":
        return
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if variant == "float16":
        converter.target_spec.supported_types = [tf.float16]
    elif variant in _INTEGER and samples is not None:  # without samples, the model's own scales are used
        converter.representative_dataset = samples
        integer = getattr(tf.lite.OpsSet, _INTEGER[variant])
        converter.target_spec.supported_ops = [integer, *converter.target_spec.supported_ops]


def _converter_error(exc: Exception, variant: str) -> TfliteError:
    """Return an error that names each operator that is not a TFLite builtin, and its layers."""
    layers: dict[str, list[str]] = {}
    for error in getattr(exc, "errors", ()):
        if error.operator.name:
            layer = next((call.name.partition("@")[0] for call in error.location.call if call.name), "")
            layers.setdefault(error.operator.name, []).append(layer)
    if not layers:
        return TfliteError(
            f"The {variant} TFLite file could not be built: {_reason(exc, '')}",
            fix="run with --debug for TensorFlow's full report, or leave this variant out of --tflite",
            code="TFB4203",
        )
    named = "\n".join(f"  {op}{_places(places)}" for op, places in sorted(layers.items()))
    return TfliteError(
        f"The {variant} TFLite file could not be built: TFLite has no builtin for these operators.\n{named}",
        fix="write these layers with other operators, add --select-tf-ops, or omit --tflite and use the SavedModel",
        code="TFB4201",
    )


def _places(layers: Sequence[str]) -> str:
    known = list(dict.fromkeys(layer for layer in layers if layer))
    more = f" and {len(known) - 3} more" if len(known) > 3 else ""
    return f" in {', '.join(known[:3])}{more}" if known else ""


def _reason(exc: Exception, noise: str) -> str:
    """Return the line of the report that states the reason: MLIR's `error: …`, or else the exception's cause."""
    text = f"{exc}\n{noise}"
    flex = re.search(r"\(Flex(\w+)\) failed to prepare", text)
    if flex:
        return f"calibration has to run the model, but {flex[1]} needs the Flex delegate, which is not available for Python"
    error = re.search(r"error: (.+)", text)
    if error:
        return error[1].strip()
    return cause_of(exc) if str(exc).strip() else "the converter gave no reason"
