"""Keeps the builds of one process apart: what one model's Python code leaves behind must not reach the next."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from bundler.process import garbage
from bundler.sources.user_code import is_user_file


@contextmanager
def isolated() -> Iterator[None]:
    """Return a context after which the modules of the user's files are forgotten, and the path of imports is as before.

    Two models may import different files of the same name, `common.py` say. torch's random generator begins like that of a new
    process, so that a module with random weights does not depend on what was built before.
    """
    path, before = list(sys.path), set(sys.modules)
    try:
        yield
    finally:
        for name in sys.modules.keys() - before:
            file = getattr(sys.modules[name], "__file__", None)
            if file and is_user_file(file):
                del sys.modules[name]
        sys.path[:] = path
        torch = sys.modules.get("torch")
        if torch is not None:
            torch.set_rng_state(torch.Generator().get_state())
        garbage.collect_between_models()
