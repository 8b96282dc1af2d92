"""A TFLite process that crashes on int8 as TensorFlow's quantizer does: by a signal, after some output."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bundler.process.worker import answer_requests
from bundler.tflite import worker


class CrashingWorker(worker.Worker):
    def make(self, variant: Any, name: str, float_layers: Sequence[str] = ()) -> dict[str, Any]:
        if variant == "int8":
            self._at("int8 converting")
            os.write(2, b"quantizer: no such loop\nI0000 00:00:1 1 loader.cc:1] chatter\n")
            os.kill(os.getpid(), signal.SIGSEGV)
        return super().make(variant, name, float_layers)


if __name__ == "__main__":
    answer_requests(CrashingWorker(Path(sys.argv[1])).answer)
