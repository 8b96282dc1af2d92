"""`.pt2` files keep the names, dims and examples of the program."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from bundler.errors import SourceError, UsageError
from bundler.values.signature import TensorSpec
from tests.bundler.sources.conftest import Load

X = "x=float32[batch,3]"


@pytest.fixture
def module() -> nn.Module:
    class Doubler(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 2)

        def forward(self, x: torch.Tensor, times: int = 2) -> torch.Tensor:
            return self.layer(x) * times

    return Doubler().eval()


@pytest.fixture
def program(folder: Path, module: nn.Module) -> Path:
    batch = torch.export.Dim("batch")
    example = torch.arange(6.0).reshape(2, 3)
    dynamic = {"x": {0: batch}, "times": None}
    saved = torch.export.export(module, (example,), {"times": 3}, dynamic_shapes=dynamic)
    torch.export.save(saved, folder / "m.pt2")
    return folder / "m.pt2"


def test_names_dims_and_examples_come_from_the_program(load_source: Load, program: Path) -> None:
    loaded = load_source(program.name)
    assert loaded.input_specs == (TensorSpec.parse(X),)
    np.testing.assert_array_equal(loaded.example_inputs["x"], np.arange(6, dtype=np.float32).reshape(2, 3))
    assert loaded.provenance["parameters"] == 8


def test_dims_may_be_named_or_fixed(load_source: Load, program: Path) -> None:
    assert load_source(program.name, inputs=("x=float32[rows,3]",)).input_specs[0].dims == ("rows", 3)


@pytest.mark.parametrize("option", ["x=float32[batch,columns]", "x=float64[batch,3]", "x=float32[batch]"])
def test_contradicting_input_is_an_error(load_source: Load, program: Path, option: str) -> None:
    with pytest.raises(UsageError, match="was exported with"):
        load_source(program.name, inputs=(option,))


def test_unknown_input_is_an_error(load_source: Load, program: Path) -> None:
    with pytest.raises(UsageError, match="no input 'y'"):
        load_source(program.name, inputs=("y=float32[batch,3]",))


def test_dynamic_dims_have_different_names(load_source: Load, folder: Path) -> None:
    batch, length = torch.export.Dim("b"), torch.export.Dim("s")
    shapes = ({0: batch, 1: length},)
    saved = torch.export.export(nn.ReLU(), (torch.zeros(2, 5),), dynamic_shapes=shapes)
    torch.export.save(saved, folder / "two.pt2")
    assert load_source("two.pt2").input_specs[0].dims == ("batch", "dim_1")


@pytest.mark.parametrize("share", [0.3, 0.99])
def test_damage_is_reported(load_source: Load, program: Path, share: float) -> None:
    data = program.read_bytes()
    program.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(SourceError, match="is damaged"):
        load_source(program.name)


def test_other_zip_archive_is_an_error(load_source: Load, folder: Path) -> None:
    torch.save({"w": torch.zeros(1)}, folder / "w.pt2")
    with pytest.raises(SourceError, match=r"is not a \.pt2 file"):
        load_source("w.pt2")
