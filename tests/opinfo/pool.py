"""Runs operators in worker processes, which may crash or hang: the case is noted, and another worker goes on after it.

693 of torch's 702 operators have samples at the five dtypes, some of them hundreds. PLAN selects 3,853 cases, and all parts of
`tests.opinfo.test_opinfo` take 14 minutes of one CPU, about a fifth of a second per case:

1. all operators at every dtype that PyTorch takes; the dtypes of each operator are exported together;
2. float32: the first and the last of the samples with different shapes or arguments, and one of them with a dynamic first dim;
3. int64, bool, float16 and bfloat16: the first sample, with fixed dims.

`python -m tests.opinfo --plan '{"int64": [8, 4]}'` runs eight samples and four dynamic ones, and `--all` runs all of them;
`--ops` and `--dtype` select. Workers run in a folder of their own, which is removed with torch's reports of failed exports in it.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SECONDS = 300.0
"""The longest time for a batch of cases; it includes an import of TensorFlow in the first one of a worker."""
START_SECONDS = 600.0
"""The longest time until a worker answers."""
OPERATORS = 150
"""The number of operators after which a worker ends, because torch and TensorFlow keep some memory for each graph."""
PLAN = {"float32": (2, 1), "int64": (1, 0), "bool": (1, 0), "float16": (1, 0), "bfloat16": (1, 0)}
"""The number of samples by dtype, and of those that also run with a dynamic first dim (see above)."""
COMMAND = ["-m", "tests.opinfo.worker"]
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Request:
    """An operator to run.

    Attributes:
        dtypes: for each dtype, the number of samples and the number of those that also run with a dynamic first dim; None: all.
    """

    op: str
    dtypes: Mapping[str, tuple[int | None, int | None]]


@dataclass(frozen=True)
class Result:
    """What became of a case. The fields are those of the worker's answers."""

    case: str
    kind: str
    detail: str


class Worker:
    """A process that answers requests; it starts with the first request."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._answers: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._operators = 0
        # torch's reports of failed exports are kept in the working directory, one per failure.
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def names(self, dtypes: Iterable[str]) -> list[str]:
        """Return the names of the operators that have samples of one of the dtypes."""
        return next(list(answer["done"]) for answer in self._ask({"names": list(dtypes)}) if "done" in answer)

    def run(self, request: Request) -> Iterator[Result]:
        """Yield the results of all cases of an operator."""
        finished: list[str] = []
        alone = False
        while True:
            begun = ["start"]
            for answer in self._ask({**vars(request), "skip": finished, "alone": alone}):
                if "begin" in answer:
                    begun = answer["begin"]
                elif "case" in answer:
                    finished.append(answer["case"])
                    yield Result(**answer)
                elif "done" in answer:
                    return
            status = self.close()
            if begun == ["start"]:
                raise RuntimeError(f"A worker does not start (exit status {status}).")
            if len(begun) == 1:
                finished += begun
                yield Result(begun[0], "crash", _ending(status))
            if begun[0].endswith(" samples"):
                return
            alone = True

    def _ask(self, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Send a request and yield the answers until there are no more: after `done`, a crash or a time-out."""
        self._operators += 1
        if self._process is not None and self._operators > OPERATORS:
            self.close()
        process = self._process or self._start()
        assert process.stdin is not None
        print(json.dumps(request), file=process.stdin, flush=True)
        started = self._operators > 1
        while True:
            try:
                answer = self._answers.get(timeout=SECONDS if started else START_SECONDS)
            except queue.Empty:
                return
            if answer is None:
                return
            started = True
            yield answer
            if "done" in answer:
                return

    def _start(self) -> subprocess.Popen[str]:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
        self._folder = tempfile.TemporaryDirectory(prefix="opinfo-worker-")
        self._process = subprocess.Popen(
            [sys.executable, *COMMAND], cwd=self._folder.name, env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        self._answers, self._operators = queue.Queue(), 1
        threading.Thread(target=_read, args=(self._process, self._answers), daemon=True).start()
        return self._process

    def close(self) -> int | None:
        """End the process; return its exit status if it had ended by itself."""
        process, self._process = self._process, None
        if process is None:
            return None
        try:
            status = process.wait(timeout=0.5)
        except subprocess.TimeoutExpired:
            status = None
            process.kill()
            process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()
        if self._folder is not None:
            self._folder.cleanup()
        return status


def _read(process: subprocess.Popen[str], answers: queue.Queue[dict[str, Any] | None]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        answers.put(json.loads(line))
    answers.put(None)


def _ending(status: int | None) -> str:
    if status is None:
        return f"no answer within {SECONDS:.0f} s"
    return f"the process ended with {'signal' if status < 0 else 'status'} {abs(status)}"


def run(requests: Iterable[Request], workers: int) -> Iterator[Result]:
    """Yield the results of all requests, with several workers at a time."""
    waiting = queue.SimpleQueue[Request]()
    for request in requests:
        waiting.put(request)
    results: queue.Queue[Result | BaseException | None] = queue.Queue()

    def work() -> None:
        worker = Worker()
        try:
            while not waiting.empty():
                for result in worker.run(waiting.get_nowait()):
                    results.put(result)
        except queue.Empty:
            pass
        except Exception as exc:  # noqa: BLE001 (raised again by the caller's thread)
            results.put(exc)
        finally:
            worker.close()
            results.put(None)

    for _ in range(workers):
        threading.Thread(target=work, daemon=True).start()
    running = workers
    while running:
        result = results.get()
        if result is None:
            running -= 1
        elif isinstance(result, BaseException):
            raise result
        else:
            yield result
