"""Recognises models that are already quantized: their graph has QuantizeLinear and DequantizeLinear with fixed scales.

An int8 TFLite file uses these scales and needs no calibration data.
"""

from __future__ import annotations

import mmap
from pathlib import Path

_MARKS = {".onnx": b"DequantizeLinear", ".pt2": b"quantized_decomposed"}
"""Bytes that occur only in a quantized file: an operator's name, or the domain of PyTorch's export quantization."""


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
