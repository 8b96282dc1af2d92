"""Reading an ONNX file into the IR that the passes and the engine work on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError

from bundler.errors import ConversionError

SMALL = 1024
"""Elements up to which a constant is taken for a shape or a parameter rather than a weight."""


def load(path: Path) -> ir.Model:
    """The model with its weights left on disk until they are needed.

    Raises:
        ConversionError: the file is missing, is no ONNX, or its external data is missing, too short, or outside its folder.
    """
    try:
        model = ir.load(path)
    except FileNotFoundError as exc:
        raise ConversionError(f"There is no file {path}.") from exc
    except (DecodeError, ValueError, TypeError, KeyError, AttributeError, OSError) as exc:
        raise ConversionError(
            f"{path} cannot be read as an ONNX model: {exc}.", fix="export it again; a download may have been cut short"
        ) from exc
    _check_external_data(model, path)
    _load_small(model)
    return model


def from_proto(proto: onnx.ModelProto) -> ir.Model:
    """The IR of a model in memory."""
    return ir.from_proto(proto)


def _load_small(model: ir.Model) -> None:
    """Read small external constants (shapes, axes): ONNX's own tools need their values and do not know the model's folder."""
    for value in model.graph.initializers.values():
        tensor = value.const_value
        if isinstance(tensor, ir.ExternalTensor) and tensor.size <= SMALL:
            value.const_value = ir.tensor(np.array(tensor.numpy()), name=tensor.name)


def _check_external_data(model: ir.Model, path: Path) -> None:
    """ONNX requires external data to lie in the model's folder (onnx/docs/ExternalData.md)."""
    folder = path.parent.resolve()
    for value in model.graph.initializers.values():
        tensor = value.const_value
        if not isinstance(tensor, ir.ExternalTensor):
            continue
        file = (folder / tensor.location).resolve()
        if not file.is_relative_to(folder):
            raise ConversionError(
                f"The weight {value.name!r} of {path} is said to be in {tensor.location!r}, outside of the model's folder.",
                fix="such a file is refused; export the model again with its data beside it",
            )
        if not file.is_file():
            raise ConversionError(
                f"The weight {value.name!r} of {path} is in {tensor.location!r}, which is missing.",
                fix=f"put the data file into {folder}",
            )
        if file.stat().st_size < (tensor.offset or 0) + tensor.nbytes:
            raise ConversionError(
                f"The data file {tensor.location!r} of {path} is too short for the weight {value.name!r}.",
                fix="export the model again; a copy may have been cut short",
            )
