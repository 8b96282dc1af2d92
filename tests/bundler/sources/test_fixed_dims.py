"""Why dims are fixed, and which of them a model accepts in another size."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import Tensor, nn

from bundler.sources.fixed_dims import of_file
from bundler.sources.module import from_module
from bundler.values.fixed_dims import EXAMPLE, GIVEN, NEEDED, FixedDim
from bundler.values.signature import TensorSpec


class Pooled(nn.Module):
    """Accepts images of any size with three channels."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        return self.convolution(image).mean((2, 3))


class Flat(nn.Module):
    """Accepts images of 64 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(64, 3)

    def forward(self, image: Tensor) -> Tensor:
        return self.head(image.flatten(1))


class Regrouped(nn.Module):
    """Answers any number of pixels, but not with a row for each image."""

    def forward(self, image: Tensor) -> Tensor:
        return image.reshape(-1, 64)


class Masked(nn.Module):
    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        return (values * mask).sum(1)


class Square(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.linalg.matrix_power(x, 2)


class Remembering(nn.Module):
    """Remembers the size that it has seen last."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("size", torch.zeros(()))
        self.seen = 0

    def forward(self, x: Tensor) -> Tensor:
        self.seen = x.shape[1]
        self.size.fill_(self.seen)
        return x * 2


class NotCopied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()

    def forward(self, image: Tensor) -> Tensor:
        return image.mean((1, 2, 3))


def reasons(
    module: nn.Module, *examples: Tensor, inputs: tuple[str, ...] = ()
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the reason of each fixed dim by `input.axis`, and what to write."""
    specs = [TensorSpec.parse(text) for text in inputs]
    fixed = from_module(module, examples=examples or None, inputs=specs).fixed_dims
    return {f"{dim.input}.{dim.axis}": dim.why for dim in fixed.dims}, fixed.free


def test_dims_that_a_model_accepts_in_other_sizes_can_be_freed() -> None:
    why, free = reasons(Pooled(), torch.randn(2, 3, 8, 9))
    assert why == {"image.1": NEEDED, "image.2": EXAMPLE, "image.3": EXAMPLE}
    assert free == ("image=float32[batch,3,height,width]",)


@pytest.mark.parametrize("module", [Flat(), Regrouped()])
def test_dims_that_a_model_accepts_in_one_size_only_are_needed(module: nn.Module) -> None:
    why, free = reasons(module, torch.randn(2, 1, 8, 8))
    assert why == {"image.1": NEEDED, "image.2": NEEDED, "image.3": NEEDED}
    assert free == ()


def test_sizes_that_the_user_wrote_are_given() -> None:
    why, free = reasons(Pooled(), inputs=("image=float32[1,3,8,8]",))
    assert why == {"image.0": GIVEN, "image.1": NEEDED, "image.2": GIVEN, "image.3": GIVEN}
    assert free == ("image=float32[batch,3,height,width]",)


def test_dims_of_several_inputs_change_together() -> None:
    why, free = reasons(Masked(), torch.randn(2, 5), torch.ones(2, 5))
    assert why == {"values.1": EXAMPLE, "mask.1": EXAMPLE}
    assert free == ("values=float32[batch,seq]", "mask=float32[batch,seq]")


def test_dims_of_one_size_change_together_if_they_cannot_alone() -> None:
    why, free = reasons(Square(), torch.randn(2, 4, 4))
    assert why == {"x.1": EXAMPLE, "x.2": EXAMPLE}
    assert free == ("x=float32[batch,seq,seq]",)


def test_a_first_axis_that_is_not_a_batch_says_why() -> None:
    why, free = reasons(Masked(), torch.randn(3, 4), torch.randn(1, 4))
    assert why["values.0"] == "the first axes of the inputs have the sizes [1, 3]"
    assert free[0].startswith("values=float32[rows,")


def test_a_model_without_fixed_dims_has_none() -> None:
    assert reasons(Masked(), inputs=("values=float32[batch,seq]", "mask=float32[batch,seq]")) == ({}, ())


def test_the_trials_leave_no_trace_in_the_model() -> None:
    module = Remembering().eval()
    _, free = reasons(module, torch.randn(2, 5), inputs=("x=float32[batch,5]",))
    assert free == ("x=float32[batch,seq]",)
    assert (module.seen, float(module.size)) == (5, 5.0)


def test_without_a_copy_the_usual_dims_are_offered() -> None:
    why, free = reasons(NotCopied(), torch.randn(2, 3, 8, 8))
    assert why == {"image.1": NEEDED, "image.2": EXAMPLE, "image.3": EXAMPLE}
    assert free == ("image=float32[batch,3,height,width]",)


def test_a_file_names_the_exporters_option_for_its_own_dims_and_input_for_given_ones() -> None:
    declared = [TensorSpec("x", "float32", ("batch", 3, 8, 8)), TensorSpec("ids", "int64", ("batch", "n"))]
    specs = [declared[0], TensorSpec("ids", "int64", ("batch", 7))]
    fixed = of_file(specs, declared, why="as the file states")
    assert fixed.dims[0] == FixedDim("x", 1, 3, "as the file states")
    assert fixed.dims[-1] == FixedDim("ids", 1, 7, GIVEN)
    assert fixed.export == "export the file again with dynamic_shapes={'x': {2: 'height', 3: 'width'}}"
    assert fixed.free == ("x=float32[batch,3,8,8]", "ids=int64[batch,seq]")


def test_a_file_with_features_offers_nothing() -> None:
    specs = [TensorSpec("x", "float32", ("batch", 4))]
    assert of_file(specs, specs, why="as the file states").explained() == "axis 1 of x is 4 (as the file states)."


def test_a_file_whose_dims_are_dynamic_has_none() -> None:
    specs = [TensorSpec("x", "float32", ("batch", None))]
    assert not of_file(specs, specs, why="as the file states").dims
