"""The interface for authors of handlers: `from bundler.ops import Layout, op`.

A handler defines in TensorFlow what an operator of an ONNX graph computes. A build takes a file with handlers
(`tfbundle build … --ops my_ops.py`, `ops:` in a bundle.yaml, `bundler.build(…, ops="my_ops.py")`); a package provides
them through the entry-point group `tfbundle.ops`. docs/custom-ops.md shows both.

    @op("SoftShrink", domain="mylib", torch="mylib::soft_shrink", layout=Layout.ELEMENTWISE)
    def soft_shrink(x, *, lambd=0.5):
        return tf.where(x > lambd, x - lambd, tf.where(x < -lambd, x + lambd, tf.zeros_like(x)))

These four names are the whole interface; they keep their meaning from release to release.
"""

from __future__ import annotations

from bundler.process.extras import require

require("onnx", "A handler for operators")

from bundler.converters.native.context import Context  # noqa: E402
from bundler.converters.native.declarations import op  # noqa: E402
from bundler.converters.native.registry import AxisPolicy as Layout  # noqa: E402
from bundler.converters.native.value import Value  # noqa: E402

__all__ = ["Context", "Layout", "Value", "op"]
