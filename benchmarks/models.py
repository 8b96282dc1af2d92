"""The eight models that converters are measured on, as sources: `tfbundle build benchmarks/models.py:resnet18`."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

# A source file is loaded on its own, outside of its package.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.models import MODELS

NAMES = {
    "resnet18": "resnet18",
    "mobilenetv3_small": "mobilenetv3_small_100",
    "efficientnet_b0": "efficientnet_b0",
    "convnext_atto": "convnext_atto",
    "vit_tiny": "vit_tiny_patch16_224",
    "bert": "bert",
    "bilstm": "bilstm",
    "unet": "unet",
}
"""Name in the tables -> name in tests.models. BERT has 6 layers of 384 and reads 64 tokens; the bi-LSTM 2 x 128, 32 steps."""


def load(name: str) -> tuple[Any, dict[str, Any]]:
    """A module in eval mode and its example inputs, two of each."""
    model = MODELS[NAMES[name]]()
    return model.module, dict(model.inputs)


resnet18 = partial(load, "resnet18")
mobilenetv3_small = partial(load, "mobilenetv3_small")
efficientnet_b0 = partial(load, "efficientnet_b0")
convnext_atto = partial(load, "convnext_atto")
vit_tiny = partial(load, "vit_tiny")
bert = partial(load, "bert")
bilstm = partial(load, "bilstm")
unet = partial(load, "unet")
