"""Recognises models that are already quantized: their graph has QuantizeLinear and DequantizeLinear with fixed scales.

An int8 TFLite file uses these scales and needs no calibration data.
"""

from __future__ import annotations

import mmap
from pathlib import Path

_MARKS = {".onnx": b"DequantizeLinear", ".pt2": b"quantized_decomposed"}
"""Bytes that occur only in a quantized file: an operator's name, or the domain of PyTorch's export quantization."""

_FAKE_QUANT = "FakeQuantWithMinMaxVars"


def comes_quantized(source: str, base: Path = Path()) -> bool:
    """Return True if a source is an .onnx or .pt2 file with quantized layers. The file is searched, not loaded.

    Args:
        source: the source string; any other kind of source gives False.
        base: the folder that a relative path starts from.
    """
    path = base / source
    mark = _MARKS.get(path.suffix.lower())
    if mark is None or not path.is_file() or not path.stat().st_size:
        return False
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(mark) >= 0


def is_quantized(saved_model: Path) -> bool:
    """Return True if a SavedModel that was lowered for TFLite has fixed scales.

    Raises:
        OSError: the folder contains no SavedModel.
    """
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    model = SavedModel.FromString((saved_model / "saved_model.pb").read_bytes())
    return any(
        node.op.startswith(_FAKE_QUANT)
        for graph in model.meta_graphs
        for function in graph.graph_def.library.function
        for node in function.node_def
    )
