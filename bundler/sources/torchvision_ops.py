"""Makes `import torchvision` work with a torch for which its compiled operators were not built."""

from __future__ import annotations

import importlib
import sys
from threading import RLock
from typing import Any

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_LIBRARIES: list[Any] = []
"""Keeps each torch.library.Library alive, since it withdraws its definitions when it is collected."""


_importing = RLock()
"""Held during the import: a second thread would declare the operators again, or see half of the modules deleted."""


def import_torchvision() -> None:
    """Import torchvision, which timm needs, even if its C++ operators do not load.

    The torchvision wheel on PyPI is built against the CUDA build of torch. With a CPU build, its library does not load.
    torchvision tolerates that, but then registers fake kernels for operators that were never declared, and fails with
    `operator torchvision::nms does not exist`. Declaring the two schemas (torchvision/csrc/ops/nms.cpp,
    quantized/cpu/qnms_kernel.cpp) is enough: no image classifier or backbone calls these operators, and a model that does gets
    torch's own error that no kernel is registered. If torchvision's library loads, nothing is declared.

    Raises:
        ImportError: torchvision is not installed.
    """
    with _importing:
        try:
            importlib.import_module("torchvision")
        except RuntimeError as exc:
            if "torchvision::nms" not in str(exc):
                raise
            _declare()
            for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
                del sys.modules[name]
            importlib.import_module("torchvision")


def _declare() -> None:
    import torch

    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for schema in _SCHEMAS:
        library.define(schema)  # type: ignore[no-untyped-call]
    _LIBRARIES.append(library)
