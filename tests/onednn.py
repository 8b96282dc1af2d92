"""Whether a test run uses oneDNN, which TensorFlow has on by default only on Linux with an x86 CPU that has AVX-512 VNNI.

`make test-all` runs the conformance tests and the zoo with and without it, because a SavedModel must answer the same on every
CPU.
"""

from __future__ import annotations

import os

VARIABLE = "TF_ENABLE_ONEDNN_OPTS"
"""The environment variable that TensorFlow reads when it is imported."""


def suffix() -> str:
    """Return what a line of the summary ends with: `, with oneDNN`, `, without oneDNN`, or nothing if TensorFlow decides."""
    return {"1": ", with oneDNN", "0": ", without oneDNN"}.get(os.environ.get(VARIABLE, ""), "")
