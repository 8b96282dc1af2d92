"""The TFLite process, but for int8 it dies as TensorFlow's quantizer makes it die: by a signal, after some words."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from bundler.tflite import worker


def convert(folder: Path, variant: Any, samples: Any) -> bytes:
    if variant == "int8":
        os.write(2, b"quantizer: no such loop\nI0000 00:00:1 1 loader.cc:1] chatter\n")
        os.kill(os.getpid(), signal.SIGSEGV)
    return real(folder, variant, samples)


if __name__ == "__main__":
    real, worker.convert = worker.convert, convert
    sys.exit(worker.main(Path(sys.argv[1]), sys.argv[2:]))
