"""Install the peers and let them convert all models, without measuring: `python -m benchmarks.peers [MODEL…]`."""

from __future__ import annotations

import sys

from benchmarks.support.common import BenchmarkError
from benchmarks.support.models import NAMES
from benchmarks.support.peers import onnx2tf_saved_model, onnx_tf_saved_model


def main(models: list[str]) -> None:
    for model in models or list(NAMES):
        for name, make in (("onnx-tf", onnx_tf_saved_model), ("onnx2tf", onnx2tf_saved_model)):
            try:
                print(f"{model}: {name}: {make(model).path}", flush=True)
            except BenchmarkError as exc:
                print(f"{model}: {name}: {exc}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
