"""Converts one synthetic graph: `python -m benchmarks.support.scaling_process chain|constants NODES`.

Prints the processor seconds of each stage as JSON.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

import onnx

from benchmarks.support import synthetic
from bundler.converters.native.model import NativeModel
from bundler.graph.load import load
from bundler.graph.normalize import normalize

MAKERS = {"chain": synthetic.chain, "constants": synthetic.constants}
WARM_UP = 50


def main() -> None:
    kind, nodes = sys.argv[1], int(sys.argv[2])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        measure(MAKERS[kind](WARM_UP), folder / "warm-up")
        print(json.dumps(measure(MAKERS[kind](nodes), folder / "measured")))


def measure(model: onnx.ModelProto, folder: Path) -> dict[str, float]:
    folder.mkdir()
    path = folder / "model.onnx"
    onnx.save(model, str(path))
    times = [time.process_time()]
    graph = normalize(load(path))
    times.append(time.process_time())
    native = NativeModel({"serving_default": graph})
    times.append(time.process_time())
    native.save(folder / "saved")
    times.append(time.process_time())
    stages = zip(("normalize", "lower", "save"), times, times[1:], strict=False)
    return {"nodes": len(model.graph.node), **{stage: after - before for stage, before, after in stages}}


if __name__ == "__main__":
    main()
