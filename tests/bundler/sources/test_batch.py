"""A first axis is a batch if the rows of the answer do not depend on each other."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from bundler.sources.batch import batch_dims
from bundler.sources.binding import bind_example, parameters
from bundler.values.signature import TensorSpec


class Rows(nn.Module):
    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        return torch.tanh(x) + (0 if bias is None else bias)


class Fixed(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(2, 3) + 1


class Sequence(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.lstm(x)[0]


class Mean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean(0)


def dims(module: nn.Module, *tensors: Tensor) -> tuple[tuple[TensorSpec, ...], str]:
    binding, named = bind_example(parameters(module), tensors)
    return batch_dims(module.eval(), binding, named)


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_independent_rows_are_a_batch(rows: int) -> None:
    specs, reason = dims(Rows(), torch.randn(rows, 3))
    assert specs == (TensorSpec("x", "float32", ("batch", 3)),)
    assert reason.startswith("yes")


def test_scalar_input_has_no_batch_and_prevents_none() -> None:
    specs, _ = dims(Rows(), torch.randn(2, 3), torch.tensor(1.0))
    assert [spec.dims for spec in specs] == [("batch", 3), ()]


@pytest.mark.parametrize(
    ("module", "explanation"),
    [(Fixed(), "does not run with 3 rows"), (Sequence(), "depend on each other"), (Mean(), "has the shape")],
)
def test_other_first_axes_stay_fixed_with_an_explanation(module: nn.Module, explanation: str) -> None:
    x = torch.randn(2, 3) if not isinstance(module, Sequence) else torch.randn(2, 1, 3)
    specs, reason = dims(module, x)
    assert specs[0].dims == tuple(x.shape)
    assert reason.startswith("fixed") and explanation in reason


def test_first_axes_of_different_sizes_stay_fixed() -> None:
    specs, reason = dims(Rows(), torch.randn(2, 3), torch.randn(1, 3))
    assert [spec.dims for spec in specs] == [(2, 3), (1, 3)]
    assert "sizes [1, 2]" in reason
