"""One case of `benchmarks.tensors` in its own process: `python -m benchmarks.support.tensors_process CASE ELEMENTS`.

Prints JSON: milliseconds, the least of three calls, and peak memory as a multiple of the array's size.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from serving.protocol.messages import serving_message
from serving.protocol.tensor_wire import predict_request, read_outputs
from serving.protocol.tensors import from_proto, to_proto

PEER = "numpy.frombuffer and copy"
CASES = (
    PEER,
    "client reads float_val",
    "client reads tensor_content",
    "client reads int64_val below 1,000",
    "client reads int64_val of all sizes",
    "server reads float_val",
    "server writes float_val",
    "client writes a request",
)


def main() -> None:
    case, elements = sys.argv[1], int(sys.argv[2])
    array, call, held = prepared(case, elements)
    reset_peak()
    before = memory("VmRSS")
    times = []
    for _ in range(3):
        began = time.perf_counter()
        result = call()
        times.append(time.perf_counter() - began)
        del result
    peak = memory("VmHWM") - before + held
    print(json.dumps({"ms": min(times) * 1e3, "memory": peak / array.nbytes}))


def prepared(case: str, elements: int) -> tuple[Any, Callable[[], object], int]:
    """Return the array, the call to measure, and the bytes that the call needs beforehand."""
    random = np.random.default_rng(0)
    if "int64" in case:
        array = random.integers(0, 1000 if "1,000" in case else 2**63 - 1, elements)
    else:
        array = random.normal(size=elements).astype(np.float32)
    if case == "client writes a request":
        return array, lambda: predict_request(b"", {"x": array}), array.nbytes
    if case == "server writes float_val":
        return array, lambda: to_proto(array, content=False).SerializeToString(), array.nbytes
    proto = to_proto(array, content="content" in case)
    if case == "server reads float_val":
        return array, lambda: from_proto(proto), array.nbytes
    response = serving_message("PredictResponse")()
    response.outputs["y"].CopyFrom(proto)
    data = response.SerializeToString()
    if case == PEER:
        start = data.index(array.tobytes()[:64])
        return array, lambda: np.frombuffer(data, array.dtype, elements, start).copy(), len(data)
    return array, lambda: read_outputs(data, 2**40), len(data)


def reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")  # Linux: resets VmHWM


def memory(name: str) -> int:
    """Return a line of /proc/self/status in bytes."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main()
