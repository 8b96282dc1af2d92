"""Fits a .tflite file to a runtime: lowers operators' versions, or says what the runtime lacks. Fields are written in place."""

from __future__ import annotations

import struct
from typing import Any

from bundler.errors import TfliteError
from bundler.tflite.contents import operators_of
from bundler.tflite.inspection import RUNTIME
from bundler.tflite.runtimes import (
    TFLITE_RUNTIME,
    LayerOf,
    Runtime,
    RuntimeRequirements,
    known_runtimes,
    lacks,
    requirements_of,
)

_VERSION_FIELD, _DATA_FIELD = 8, 4
"""Places of OperatorCode.version and Buffer.data in their tables (schema.fbs)."""

_DENSE_PER_CHANNEL = 12


def fitted(file: bytes, runtime: Runtime, what: str, layer_of: LayerOf | None = None) -> bytes:
    """Return a .tflite file that a release runs.

    A version that the release does not have is lowered to its newest one if the release was seen to compute the operator's
    types right with it (`Runtime.can_lower`).

    Args:
        file: the file's content.
        runtime: the release.
        what: the file as the error names it, such as "int8 TFLite file".
        layer_of: as for `lacks`.

    Raises:
        TfliteError: the release lacks an operator, a version or a kernel, or computes an operator wrongly. The message names all
            of them with their layers.
    """
    found = lacks(file, runtime, layer_of)
    if found:
        listed = "\n".join(f"  {lack}" for lack in found)
        oldest = requirements_of(file).minimum
        others = " or ".join(f"{family}=={release}" for family, release in oldest.items() if release)
        newer = f"name a release that runs it ({others}), or " if others else ""
        raise TfliteError(
            f"{runtime} cannot run the {what}:\n{listed}",
            fix=f"{newer}use another variant, or `mix` with these operators in tflite.float_layers",
            code="TFB4206",
        )
    return _lowered(file, runtime)


def needs_per_tensor(runtime: Runtime) -> bool:
    """Return whether a release's FULLY_CONNECTED takes a float input with int8 weights of one scale only.

    Weights with a scale for each channel came with version 12 (op_version.cc), which TensorFlow's converter writes for `dynamic`.
    """
    return (runtime.newest_version("FULLY_CONNECTED") or 0) < _DENSE_PER_CHANNEL


def _lowered(file: bytes, runtime: Runtime) -> bytes:
    from ai_edge_litert import schema_py_generated as schema

    content = bytearray(file)
    model = schema.Model.GetRootAs(content, 0)
    names = {(each.name, each.version) for each in operators_of(file) if not each.custom}
    for index in range(model.OperatorCodesLength()):
        code = model.OperatorCodes(index)
        for name, version in names:
            newest = runtime.newest_version(name) or version
            is_this = getattr(schema.BuiltinOperator, name) == max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
            if is_this and version == code.Version() and version > newest:
                _write_version(content, code, newest)
    return bytes(content)


def _write_version(content: bytearray, code: Any, version: int) -> None:
    # A version above 1 is no default, so that the field is there.
    struct.pack_into("<i", content, code._tab.Pos + code._tab.Offset(_VERSION_FIELD), version)


def with_minimum(file: bytes) -> bytes:
    """Return a .tflite file whose `min_runtime_version` is a release that was seen to run such operators.

    The converter derives its entry from a list of versions that is incomplete, and does not know of missing kernels. It counts in
    TensorFlow's numbers, and so does this one. A file without such an entry, or that no release runs, is returned unchanged.
    """
    from ai_edge_litert import schema_py_generated as schema

    release = _minimum(requirements_of(file))
    content = bytearray(file)
    model = schema.Model.GetRootAs(content, 0)
    entries = [model.Metadata(index) for index in range(model.MetadataLength())]
    entry = next((each for each in entries if each.Name() == RUNTIME.encode()), None)
    if entry is None or release is None:
        return file
    buffer = model.Buffers(entry.Buffer())
    length = buffer.DataLength()
    own = bytes(buffer.DataAsNumpy()).rstrip(b"\0").decode("ascii", "replace") if length else ""
    text = max(own, release, key=_as_number).encode()
    if len(text) < length:
        start = buffer._tab.Vector(buffer._tab.Offset(_DATA_FIELD))
        content[start : start + length] = text.ljust(length, b"\0")
    return bytes(content)


def _minimum(requirements: RuntimeRequirements) -> str | None:
    """Return the oldest release that runs the file in TensorFlow's numbers; tflite-runtime is older than LiteRT."""
    fits = [each for each in known_runtimes() if requirements.minimum[each.family] == each.release]
    return next((each.tensorflow for each in sorted(fits, key=lambda each: each.family != TFLITE_RUNTIME)), None)


def _as_number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())
