"""torch's own export of one of the models, and nothing else: `python -m benchmarks.export MODEL FILE`.

Prints the seconds that `torch.onnx.export` itself took.
"""

from __future__ import annotations

import sys
import time
import warnings
from pathlib import Path

import torch

from benchmarks.models import NAMES
from benchmarks.sources import export
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
