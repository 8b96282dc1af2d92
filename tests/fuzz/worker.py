"""Converts the files named on stdin, one per line, and prints the outcome of each as JSON.

    {"outcome": "converted" | "rejected" | "defect", "detail": …, "seconds": processor seconds, "peak_mb": …}

A line is `KIND PATH`; the kind is `convert`, `save` (convert and save) or `build` (a whole build). Any exception other than
TfbundleError is a defect, and so are a file opened outside of the model's folder, more than 30 s, and more than 4 GB. After a
crash there is no answer.
"""

from __future__ import annotations

import faulthandler
import json
import os
import re
import resource
import shutil
import signal
import sys
import time
import traceback
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

SECONDS = 30.0
PEAK_MB = 4096.0


def main() -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import bundler

    # These import torch, TensorFlow and ONNX Runtime, whose time and memory must not count as an input's.
    for module in ("converters.native.model", "export.onnx_signature", "sources.onnx_file", "validation.parity", "render.parts"):
        import_module(f"bundler.{module}")
    import_module("onnxruntime")
    warnings.simplefilter("ignore")
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # everything printed goes to stderr
    _limit_memory()
    faulthandler.register(signal.SIGUSR1)  # prints the stacks of a worker that does not answer
    opened: list[str] = []
    sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "open" else None)
    print("ready", file=channel, flush=True)
    for line in sys.stdin:
        kind, path = line.rstrip("\n").split(" ", 1)
        opened.clear()
        print(json.dumps(_result(bundler, kind, Path(path), opened)), file=channel, flush=True)


def _limit_memory() -> None:
    """Make allocations beyond 4 GB fail, so that they end this process and not the machine."""
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limit = size + int(PEAK_MB) * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _result(bundler: Any, kind: str, path: Path, opened: list[str]) -> dict[str, Any]:
    Path("/proc/self/clear_refs").write_text("5")
    began = time.process_time()
    outcome, detail = _convert(bundler, kind, path)
    seconds = time.process_time() - began
    peak = _peak()
    if outcome != "defect":
        outside = [name for name in opened if _is_outside(name, path.parent)]
        if outside:
            outcome, detail = "defect", f"opened {outside[0]}"
        elif seconds > SECONDS:
            outcome, detail = "defect", f"took {seconds:.0f} s of processor time"
        elif peak > PEAK_MB:
            outcome, detail = "defect", f"took {peak:.0f} MB"
    return {"outcome": outcome, "detail": detail, "seconds": round(seconds, 2), "peak_mb": round(peak)}


def _convert(bundler: Any, kind: str, path: Path) -> tuple[str, str]:
    from bundler.errors import TfbundleError

    out = path.parent / "out"
    try:
        if kind == "build":
            bundler.build(path, out=out)
        else:
            converted = bundler.convert(path)
            if kind == "save":
                converted.save(out)
    except TfbundleError as exc:
        text = str(exc)
        if len(text) > 20_000:
            return "defect", f"a message of {len(text)} characters: {text[:200]}"
        return "rejected", text[:300]
    except BaseException as exc:  # noqa: BLE001 (this is what the fuzzer looks for)
        return "defect", f"{type(exc).__name__}: {str(exc)[:300]}\n{_place(exc)}"
    finally:
        shutil.rmtree(out, ignore_errors=True)
    return "converted", ""


def _place(exc: BaseException) -> str:
    """Return the last frames of the exception, and our own last frames."""
    frames = traceback.extract_tb(exc.__traceback__)
    ours = [f for f in frames if "/bundler/" in f.filename][-3:]
    return "\n".join(f"{f.filename.split('/bundler/')[-1]}:{f.lineno} {f.name}: {f.line}" for f in [*ours, *frames[-2:]])


def _peak() -> float:
    status = Path("/proc/self/status").read_text()
    found = re.search(r"VmHWM:\s*(\d+)", status)
    return int(found[1]) / 1024 if found else 0.0


def _is_outside(name: str, folder: Path) -> bool:
    """Return True for a file that only a model can name, not one of the interpreter or the system's libraries."""
    if name.isdigit():
        return False
    real = os.path.realpath(name)
    suspects = ("outside.bin", "/etc/passwd", "/dev/zero")
    return real.endswith(suspects) and not real.startswith(f"{folder.resolve()}{os.sep}")


if __name__ == "__main__":
    main()
