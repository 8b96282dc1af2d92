"""Converts an ONNX file as our command line does.

    python -m benchmarks.support.convert_process MODEL.onnx FOLDER LAYOUT [PRECISION]
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from serving.imports import leave_keras_out


def main(source: str, folder: str, layout: Any, precision: str = "float32") -> None:
    leave_keras_out()
    import bundler
    from bundler.converters.native import NativeConverter

    converted = bundler.convert(source, layout=layout)
    lowered = NativeConverter().in_bfloat16(converted) if precision == "bfloat16" else converted
    lowered.save(Path(folder))


if __name__ == "__main__":
    main(*sys.argv[1:])
