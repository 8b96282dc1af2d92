"""All architectures of the zoo."""

from __future__ import annotations

from importlib import import_module

from tests.zoo.entry import Entry

FAMILIES = (
    "convolutional", "large_kernels", "vision_transformers", "dense_prediction", "one_and_three_dims", "encoders", "decoders",
    "encoder_decoders", "vision_models", "speech", "multimodal", "control_flow", "recommenders", "graphs", "others",
)  # fmt: skip
"""The modules of tests/zoo that have ENTRIES."""


def entries_of(family: str) -> tuple[Entry, ...]:
    entries: tuple[Entry, ...] = import_module(f"tests.zoo.{family}").ENTRIES
    return entries


ENTRIES: dict[str, Entry] = {entry.name: entry for family in FAMILIES for entry in entries_of(family)}
