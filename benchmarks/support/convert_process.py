"""Converts an ONNX file as our command line does: `python -m benchmarks.support.convert_process MODEL.onnx FOLDER LAYOUT`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from serving.imports import leave_keras_out


def main(source: str, folder: str, layout: Any) -> None:
    leave_keras_out()
    import bundler

    bundler.convert(source, layout=layout).save(Path(folder))


if __name__ == "__main__":
    main(*sys.argv[1:])
