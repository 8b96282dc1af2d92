"""Architectures of all families answer as PyTorch does, in dtype, shape and value.

Each is exported, converted and run at two or more batch sizes, and at two or more sizes of every other dynamic dim. The fast ones
are part of `make test`.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bundler.export.torch_interfaces import exports_while_loop
from tests.zoo import table
from tests.zoo.entry import Entry
from tests.zoo.known_failures import REASONS

GOAL = 40

COMPAT = (
    "resnet18", "bert", "gpt2", "gru_lstm_attention", "cond", "while_loop", "scan", "fake_quantized", "dlrm", "log_mel",
    "sequential_recommender",
)  # fmt: skip
"""Those that `make compat` runs with other releases of the dependencies: LSTM, attention, control flow and quantization
among them."""


def _parameter(entry: Entry) -> object:
    marks = [] if entry.fast else [pytest.mark.slow]
    if entry.name in COMPAT:
        marks.append(pytest.mark.compat)
    if entry.name == "while_loop" and not exports_while_loop():
        marks.append(pytest.mark.xfail(reason=f"torch {torch.__version__} cannot write while_loop", strict=True))
    if entry.name in REASONS:
        marks.append(pytest.mark.xfail(reason=REASONS[entry.name], strict=True))
    return pytest.param(entry, id=entry.name, marks=marks)


@pytest.mark.parametrize("entry", [_parameter(entry) for entry in table.ENTRIES.values()])
def test_architecture(entry: Entry, tmp_path: Path) -> None:
    from tests.zoo import check

    converted = check.convert(entry, entry.make(), tmp_path)
    check.assert_agrees(entry, converted, tmp_path)
    check.assert_transposes(entry, converted, tmp_path)


def test_names_are_unique_and_known_failures_exist() -> None:
    """There are also as many architectures as promised, and enough fast ones."""
    assert len(table.ENTRIES) == sum(len(table.entries_of(family)) for family in table.FAMILIES)
    assert len(table.ENTRIES) - len(REASONS) >= GOAL
    assert not set(REASONS) - set(table.ENTRIES)
    assert sum(entry.fast for entry in table.ENTRIES.values()) >= 5
