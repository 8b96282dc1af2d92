"""Exports a model with torch alone: `python -m benchmarks.support.export_process MODEL FILE`.

Prints the seconds that `torch.onnx.export` itself takes.
"""

from __future__ import annotations

import sys
import time
import warnings
from pathlib import Path

import torch

from benchmarks.support.exports import export
from benchmarks.support.models import NAMES
from tests.models import MODELS


def main(name: str, file: Path) -> None:
    torch.set_num_threads(2)
    model = MODELS[NAMES[name]]()
    warnings.simplefilter("ignore")
    began = time.perf_counter()
    export(model, file)
    print(time.perf_counter() - began)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
