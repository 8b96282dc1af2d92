"""A process that builds one unit after the other: `python -m bundler.many.worker FOLDER CACHE`.

It works in FOLDER, as the user's code may open files relative to it, and stores results in CACHE. A request has a unit; the
answer has the key of its entry or the error, and the process's memory. It ends when its input does.
"""

from __future__ import annotations

import os
import signal
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from bundler.many import failures
from bundler.many.cache import Cache
from bundler.many.units import Unit, build_unit
from bundler.process.memory import used_bytes
from bundler.process.worker import answer_with_events
from serving.imports import leave_keras_out
from serving.quiet import quiet_tensorflow


def _answer(cache: Cache, request: Mapping[str, Any], tell: Callable[[Any], None]) -> dict[str, Any]:
    unit = Unit(**request["unit"])
    result: dict[str, Any] = {}
    try:
        result["key"] = build_unit(unit, cache, lambda event: tell(asdict(event))).key
    except Exception as exc:  # noqa: BLE001 - the process that asked gets every error, and tells it for this unit
        result["error"] = failures.to_json(exc)
    return {**result, "memory": used_bytes()}


def _terminate(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def main() -> None:
    """Answer requests until standard input ends."""
    folder, root = sys.argv[1:]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    signal.signal(signal.SIGTERM, _terminate)
    os.environ.setdefault("TF_ONEDNN_USE_SYSTEM_ALLOCATOR", "1")
    warnings.filterwarnings("ignore")
    leave_keras_out()
    quiet_tensorflow()
    os.chdir(folder)
    answer_with_events(partial(_answer, Cache(Path(root))))


if __name__ == "__main__":
    main()
