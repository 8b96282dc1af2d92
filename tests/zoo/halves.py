"""The architectures of the zoo in half precision: weights and float inputs cast to bfloat16 or float16."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from tests.models import RealModel
from tests.zoo.entry import Entry

DTYPES = ("bfloat16", "float16")


def in_half(entry: Entry, dtype: str) -> tuple[Entry, RealModel]:
    """Return the architecture and its model in half precision; its further signatures have inputs of the same dtype."""
    made, kind = entry.make(), getattr(torch, dtype)
    inputs = {name: t.to(kind) if t.is_floating_point() else t for name, t in made.inputs.items()}
    signatures = {name: _signature(options, dtype) for name, options in entry.signatures.items()}
    changed = replace(entry, signatures=signatures, saved=False, transposes=None, nhwc=False)
    return changed, RealModel(made.module.to(kind), inputs, tuple(_spec(spec, dtype) for spec in made.specs))


def _signature(options: Mapping[str, Any], dtype: str) -> dict[str, Any]:
    return {**options, **({"inputs": tuple(_spec(s, dtype) for s in options["inputs"])} if "inputs" in options else {})}


def _spec(text: str, dtype: str) -> str:
    return text.replace("=float32[", f"={dtype}[")
