"""The processes that make the TFLite files of one model: started early, and side by side where there is room for two.

One process makes the float files and another one the calibrated ones, which share a calibration. TensorFlow takes seconds to
import, so that they can be started while torch still exports the model.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, TypeAlias

from bundler.process.memory import available_bytes
from bundler.spec.bundle_spec import CALIBRATED
from bundler.tflite.exchange import ConvertedFile, WorkerClient

if TYPE_CHECKING:
    from bundler.spec.bundle_spec import TfliteVariant

OnVariant: TypeAlias = Callable[[str, bool, float], None]
"""Called with a variant's name, whether it was made, and the seconds it took."""

ROOM_BYTES = 4 << 30
"""Free memory with which two processes run side by side: TensorFlow takes 0.4 GB in each, and a conversion several times the
size of the weights."""


class Processes:
    """Makes files in the background. Use it as a context manager; the processes end with the block.

    Args:
        work: the work folder (`bundler.tflite.exchange`), which exists and may still be empty.
        variants: the variants that will be made.
        on_variant: called after each variant.
    """

    def __init__(self, work: Path, variants: Collection[TfliteVariant], on_variant: OnVariant | None = None) -> None:
        self.work, self.on_variant = work, on_variant or _ignore
        self._pool = ThreadPoolExecutor(2)
        self._futures: dict[str, Future[tuple[ConvertedFile, float]]] = {}
        kinds = {variant in CALIBRATED for variant in variants}
        together = len(kinds) == 1 or (os.cpu_count() or 1) < 2 or available_bytes() < ROOM_BYTES
        first = WorkerClient(work)
        self._clients = {False: first, True: first if together else WorkerClient(work, "calibrated")}

    def __enter__(self) -> Processes:
        for client in set(self._clients.values()):
            client.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the processes, whatever they are doing, and free their memory."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        running = [future for future in self._futures.values() if not future.done()]
        while running:
            for client in self._clients.values():
                client.kill()
            running = list(wait(running, timeout=0.1).not_done)
        for client in self._clients.values():
            client.close()

    def client(self, variant: TfliteVariant) -> WorkerClient:
        """Return the client of the process that makes a variant."""
        return self._clients[variant in CALIBRATED]

    def begin(self, variant: TfliteVariant) -> None:
        """Let a variant be made in the background, after those that were begun before in the same process."""
        self._futures[variant] = self._pool.submit(self._timed, variant)

    def made(self, variant: TfliteVariant, float_layers: Sequence[str] = ()) -> tuple[ConvertedFile, float]:
        """Return a variant's file and the seconds that it took, when it is ready; make it now if it was not begun.

        Raises:
            TfliteError: as `WorkerClient.make`.
        """
        begun = self._futures.get(variant)
        return self._timed(variant, float_layers) if begun is None else begun.result()

    def wait(self) -> None:
        """Wait until no process computes any more."""
        wait(self._futures.values())

    def _timed(self, variant: TfliteVariant, float_layers: Sequence[str] = ()) -> tuple[ConvertedFile, float]:
        client = self.client(variant)
        with client.turn:
            began = time.perf_counter()
            return client.make(variant, float_layers), time.perf_counter() - began


def _ignore(variant: str, made: bool, seconds: float) -> None:
    pass
