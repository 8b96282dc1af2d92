"""The pool of LiteRT interpreters."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from serving.server.servables.interpreters import InterpreterPool


def test_pool_limits_the_calls_that_run_at_once(
    content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    from serving.server.servables import interpreters

    interpreters_used: list[Any] = []
    running, most, lock = [0], [0], threading.Lock()
    run = interpreters.Interpreter.run

    def counted(self: Any, *arguments: Any) -> Any:
        with lock:
            interpreters_used.extend([self] if self not in interpreters_used else [])
            running[0] += 1
            most[0] = max(most[0], running[0])
        try:
            threading.Event().wait(0.02)
            return run(self, *arguments)
        finally:
            with lock:
                running[0] -= 1

    monkeypatch.setattr(interpreters.Interpreter, "run", counted)
    pool = InterpreterPool(content, size=2)
    index, output = pool.inputs[0].index, pool.outputs[0].index
    calls = [threading.Thread(target=pool.run, args=({index: np.ones((n, 4), np.float32)}, [output])) for n in range(1, 9)]
    for call in calls:
        call.start()
    for call in calls:
        call.join()
    assert most[0] == 2 and len(interpreters_used) == 2
