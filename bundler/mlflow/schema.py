"""MLflow's description of a call: the schema of inputs, outputs and parameters, and an example from the golden data.

1. Inputs and outputs are tensors by name, with the dtypes of the signature and -1 for each dynamic dim.
2. NumPy and JSON have no bfloat16, so that such tensors are float32 to MLflow's users; `bundler.mlflow.scorer` converts them.
3. Strings are objects: NumPy's own types for text and bytes drop zeros at the end. MLflow lets text through as an object.
4. The parameters are the settings of `bundler.mlflow.choice` except the model; each is empty by default, for what was chosen when
   the model was logged or loaded.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bundler.bundle.files import own_file
from bundler.bundle.reader import BundleReader
from bundler.mlflow.choice import SETTINGS, Choice
from bundler.values.arrays import Array
from bundler.values.signature import TensorSpec
from serving.golden.data import Golden, GoldenCase, batch_size, is_binary
from serving.protocol.tensors import array_dtype_name, bfloat16_to_float32

if TYPE_CHECKING:
    from mlflow.models import ModelSignature

LARGEST_EXAMPLE = 100_000
"""The most elements of a golden call that becomes the example by default: MLflow stores it twice, as JSON."""

_DTYPES = {"bfloat16": "float32", "string": "object"}


def model_signature(bundle: BundleReader, choice: Choice) -> ModelSignature:
    """Return MLflow's signature of a choice."""
    from mlflow.models import ModelSignature
    from mlflow.types.schema import ParamSchema, ParamSpec, Schema

    signature = choice.tensors(bundle)
    params = ParamSchema([ParamSpec(name, "string", "") for name in SETTINGS if name != "model"])
    return ModelSignature(
        inputs=Schema([_tensor(spec) for spec in signature.inputs]),
        outputs=Schema([_tensor(spec) for spec in signature.outputs]),
        params=params,
    )


def _tensor(spec: TensorSpec) -> Any:
    from mlflow.types.schema import TensorSpec as MlflowTensorSpec

    shape = tuple(-1 if size is None else size for size in spec.shape)
    return MlflowTensorSpec(np.dtype(_DTYPES.get(spec.dtype, spec.dtype)), shape, spec.name)


def input_example(bundle: BundleReader, choice: Choice) -> dict[str, Array] | None:
    """Return the inputs of the smallest golden call of a choice that has any rows.

    Returns:
        Arrays by input name; None if there is no call that fits, it has more than LARGEST_EXAMPLE elements, or the version was
        adopted.

    Raises:
        GoldenError: the golden data cannot be read.
    """
    if bundle.is_adopted(choice.model, choice.version):
        return None
    golden = Golden.load(own_file(bundle.path, bundle.layout.golden_file(choice.model, choice.version)))
    specs = choice.tensors(bundle).inputs
    calls = [case for case in golden.cases if case.signature == choice.signature_name and _fits(case, specs)]
    smallest = min(calls, key=_elements, default=None)
    if smallest is None or _elements(smallest) > LARGEST_EXAMPLE:
        return None
    return {name: _plain(array) for name, array in golden.inputs(smallest).items()}


def _fits(case: GoldenCase, specs: Sequence[TensorSpec]) -> bool:
    """Return whether a call has rows, and arrays of the sizes that the form takes, which has fixed sizes in a TFLite file."""
    if not batch_size(case.inputs):
        return False
    return all(
        spec.name in case.inputs
        and len(spec.shape) == case.inputs[spec.name].ndim
        and all(size in (None, have) for size, have in zip(spec.shape, case.inputs[spec.name].shape, strict=True))
        for spec in specs
    )


def _elements(case: GoldenCase) -> int:
    return sum(array.size for array in case.inputs.values())


def _plain(array: Array) -> Array:
    """Return an array as MLflow's users give it: bfloat16 as float32, bytes in the form that JSON has for them."""
    if array_dtype_name(array) == "bfloat16":
        return bfloat16_to_float32(array)
    if is_binary(array):
        return np.asarray(np.frompyfunc(_marked, 1, 1)(array), object)
    return array.astype(object) if array.dtype.kind == "U" else array


def _marked(value: bytes) -> dict[str, str]:
    """Return bytes in the form that TensorFlow Serving's JSON has for them."""
    return {"b64": base64.b64encode(value).decode("ascii")}
