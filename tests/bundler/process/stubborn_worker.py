"""A worker process that answers, prints, hangs or dies, as each request says: `python -m … MODE`."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import Any

from bundler.process.worker import answer_requests, answer_with_events


def answer(request: dict[str, Any]) -> dict[str, Any]:
    print("chatter on standard output")
    if request["do"] == "hang":
        print("about to hang", file=sys.stderr, flush=True)
        time.sleep(600)
    if request["do"] == "exit":
        print("giving up", file=sys.stderr, flush=True)
        os._exit(7)
    return {"length": len(request.get("text", "")), "text": "é" * request.get("size", 0)}


def count(request: dict[str, Any], tell: Callable[[Any], None]) -> dict[str, Any]:
    """Tell each number before the answer."""
    for number in range(request["to"]):
        tell({"number": number})
    return {"variable": os.environ.get("OMP_NUM_THREADS")}


def half_an_answer() -> None:
    """Write the start of an answer and hang, or close standard output and hang."""
    os.write(1, b'{"length": ')
    if sys.argv[1] == "close":
        os.close(1)
    time.sleep(600)


if __name__ == "__main__":
    if sys.argv[1] == "answer":
        answer_requests(answer)
    elif sys.argv[1] == "count":
        answer_with_events(count)
    elif sys.argv[1] == "deaf":
        time.sleep(600)
    elif sys.argv[1] == "missing":
        sys.exit(3)
    half_an_answer()
