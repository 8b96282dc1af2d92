"""Models that come quantized: QuantizeLinear and DequantizeLinear stand in their graph, with scales of their own.

Their int8 file takes these scales and needs no calibration data.
"""

from __future__ import annotations

import mmap
from pathlib import Path

_MARKS = {".onnx": b"DequantizeLinear", ".pt2": b"quantized_decomposed"}
"""What stands in such a file: the operator's name; the operators that PyTorch's export quantization writes."""

_FAKE_QUANT = "FakeQuantWithMinMaxVars"


def comes_quantized(source: str, base: Path = Path()) -> bool:
    """Whether a model's source is a file with quantized layers; told without reading it as a model."""
    path = base / source
    mark = _MARKS.get(path.suffix.lower())
    if mark is None or not path.is_file() or not path.stat().st_size:
        return False
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(mark) >= 0


def is_quantized(saved_model: Path) -> bool:
    """Whether a model lowered for TFLite has scales of its own.

    Raises:
        OSError: the folder holds no SavedModel.
    """
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    model = SavedModel.FromString((saved_model / "saved_model.pb").read_bytes())
    return any(
        node.op.startswith(_FAKE_QUANT)
        for graph in model.meta_graphs
        for function in graph.graph_def.library.function
        for node in function.node_def
    )
