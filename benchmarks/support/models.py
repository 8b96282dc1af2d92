"""The eight models on which converters are measured, as sources: `tfbundle build benchmarks/support/models.py:resnet18`."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

# A source file is imported alone, outside of its package.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

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
"""Name in the tables -> name in tests.models.

BERT has 6 layers of width 384 and reads 64 tokens; the bi-LSTM has 2 layers of width 128 and reads 32 steps.
"""


def load(name: str) -> tuple[Any, dict[str, Any]]:
    """Return a module in eval mode, and example inputs with a batch of two."""
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
