"""TensorFlow without its messages about CPU features, GPUs and oneDNN, which it writes to stderr at every start."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from serving.imports import import_inside
from serving.stderr import captured_stderr

LEVEL_ENV = "TF_CPP_MIN_LOG_LEVEL"
"""TensorFlow's own variable: the lowest level of its C++ messages that is written; 3 is fatal errors only."""
_ONLY_FATAL = "3"


def quiet_tensorflow() -> None:
    """Keep TensorFlow's messages off stderr, if it is not imported yet; its errors are exceptions all the same.

    Whoever wants the messages sets TF_CPP_MIN_LOG_LEVEL, which is then left as it is.
    """
    if LEVEL_ENV not in os.environ:
        import_inside("tensorflow", _quietly)


@contextmanager
def _quietly() -> Iterator[None]:
    """Import TensorFlow with its messages off: what absl logs before it reads the level, and everything by the level.

    TensorFlow's C++ reads the variable once, while it is imported.
    """
    if LEVEL_ENV in os.environ:
        yield
        return
    os.environ[LEVEL_ENV] = _ONLY_FATAL
    try:
        with captured_stderr():
            yield
    finally:
        os.environ.pop(LEVEL_ENV, None)
    logging.getLogger("absl").setLevel(logging.ERROR)
    # In a notebook, TensorFlow sets its logger to INFO when it is first asked for.
    sys.modules["tensorflow"].get_logger().setLevel(logging.WARNING)
