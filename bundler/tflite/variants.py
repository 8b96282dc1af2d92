"""The TFLite variants: what each asks of TensorFlow's converter, and the conversion itself.

| variant | weights | computation | input and output |
|---|---|---|---|
| float32 | float32 | float32 | the model's |
| float16 | float16, half the size | float32 (float16 on a GPU delegate) | the model's |
| dynamic | int8, a quarter | int8 products with ranges taken at run time, else float32 | the model's |
| int8 | int8 | int8 with ranges from calibration; what has no int8 kernel stays float32 | the model's |
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt

from bundler.converters import SERVING_DEFAULT
from bundler.converters.signature_names import restore
from bundler.errors import TfliteError
from bundler.quiet import captured_stderr
from bundler.spec import TfliteVariant
from bundler.tflite.recurrent import start_from_zero

Array = npt.NDArray[Any]
Samples = Callable[[], Iterator[dict[str, Array]]]


def write_static(function: Any, names: Iterable[str], folder: Path) -> None:
    """Write a ConcreteFunction with static shapes as the SavedModel that all variants are converted from.

    A SavedModel, as the converter takes the names of inputs from its signature and nothing else can hold all of them.

    Args:
        function: from `ConvertedModel.static`; whoever owns its variables must be alive.
        names: of the inputs, in their order.
    """
    import tensorflow as tf

    owner = tf.Module()
    owner.captured = list(function.variables)
    with captured_stderr():
        tf.saved_model.save(owner, str(folder), signatures={SERVING_DEFAULT: function})
    restore(folder, {SERVING_DEFAULT: names})


def convert(folder: Path, variant: TfliteVariant, samples: Samples | None = None) -> bytes:
    """The SavedModel of `write_static` as a .tflite file with the same names in its one signature.

    Args:
        samples: for int8: makes an iterator over inputs by name.

    Raises:
        TfliteError: the operators and layers that TFLite cannot express, or why the converter stopped.
    """
    import tensorflow as tf
    from tensorflow.lite.python.convert_phase import ConverterError

    # ValueError and RuntimeError come from the Python side and from the quantizer.
    try:
        with captured_stderr() as noise, warnings.catch_warnings():
            # TensorFlow's own calibrator still runs on tf.lite.Interpreter.
            warnings.filterwarnings("ignore", message=r"\s*Warning: tf\.lite\.Interpreter is deprecated")
            converter = tf.lite.TFLiteConverter.from_saved_model(str(folder), signature_keys=[SERVING_DEFAULT])
            _configure(converter, variant, samples)
            return start_from_zero(bytes(converter.convert()))
    except ConverterError as exc:
        raise _converter_error(exc, variant) from exc
    except (ValueError, RuntimeError, tf.errors.OpError) as exc:
        raise TfliteError(
            f"The {variant} TFLite file could not be made: {_reason(str(exc), noise.text)}",
            fix="run with --debug for TensorFlow's whole report, or leave this variant out of --tflite",
        ) from exc


def _configure(converter: Any, variant: TfliteVariant, samples: Samples | None) -> None:
    import tensorflow as tf

    builtins = tf.lite.OpsSet.TFLITE_BUILTINS
    converter.target_spec.supported_ops = [builtins]
    if variant == "float32":
        return
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if variant == "float16":
        converter.target_spec.supported_types = [tf.float16]
    elif variant == "int8":
        converter.representative_dataset = samples
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8, builtins]


def _converter_error(exc: Exception, variant: str) -> TfliteError:
    """Name each operator that is not a TFLite builtin, and the layers it stands in."""
    layers: dict[str, list[str]] = {}
    for error in getattr(exc, "errors", ()):
        if error.operator.name:
            layer = next((call.name.partition("@")[0] for call in error.location.call if call.name), "")
            layers.setdefault(error.operator.name, []).append(layer)
    if not layers:
        return TfliteError(
            f"The {variant} TFLite file could not be made: {_reason(str(exc), '')}",
            fix="run with --debug for TensorFlow's whole report, or leave this variant out of --tflite",
        )
    named = "\n".join(f"  {op}{_places(places)}" for op, places in sorted(layers.items()))
    return TfliteError(
        f"The {variant} TFLite file could not be made: TFLite has no builtin for these operators.\n{named}",
        fix="write these layers with other operators, or serve the SavedModel and leave out --tflite",
    )


def _places(layers: Sequence[str]) -> str:
    known = list(dict.fromkeys(layer for layer in layers if layer))
    more = f" and {len(known) - 3} more" if len(known) > 3 else ""
    return f" in {', '.join(known[:3])}{more}" if known else ""


def _reason(message: str, noise: str) -> str:
    """The line that says what went wrong: MLIR writes `error: …`, others begin with it."""
    text = f"{message}\n{noise}"
    found = re.search(r"error: (.+)", text)
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return found[1].strip() if found else (lines[0] if lines else "the converter gave no reason")
