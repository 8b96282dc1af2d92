"""`dynamic_shapes` of torch.export.export become the named dims of the inputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

import bundler
from bundler.errors import UsageError
from bundler.sources.binding import bind_example, parameters
from bundler.sources.dynamic_shapes import to_specs


class Pair(nn.Module):
    def forward(self, x: Tensor, state: dict[str, Tensor] | None = None, *, scale: Tensor | None = None) -> Tensor:
        total = x.sum(dim=1)
        if state is not None:
            total = total + state["h"].sum(dim=1)
        return total if scale is None else total * scale


X = torch.ones(2, 5, 3)
STATE = {"h": torch.ones(2, 4, 3)}


def specs(example: Any, dynamic_shapes: Any) -> list[str]:
    params = parameters(Pair())
    return [str(spec) for spec in to_specs(params, *bind_example(params, example), dynamic_shapes)]


@pytest.mark.parametrize(
    ("dynamic_shapes", "dims"),
    [
        ({"x": {0: Dim("batch"), 1: Dim("seq")}}, "batch,seq,3"),
        (({0: Dim("batch"), 1: Dim("seq")},), "batch,seq,3"),
        ([[Dim("n"), "seq", None]], "batch,seq,3"),
        ({"x": {0: Dim.DYNAMIC, 1: Dim.AUTO, 2: Dim.STATIC}}, "batch,x_1,3"),
        ({"x": {-2: Dim("seq")}}, "2,seq,3"),
        ({"x": (2, Dim("seq", min=2, max=64), 3)}, "2,seq,3"),
        ({"x": None}, "2,5,3"),
    ],
)
def test_every_form_of_torch_export_is_understood(dynamic_shapes: Any, dims: str) -> None:
    assert specs((X,), dynamic_shapes) == [f"x=float32[{dims}]"]


def test_nested_inputs_have_nested_shapes() -> None:
    batch = Dim("b")
    shapes = {"x": {0: batch, 1: Dim("seq")}, "state": {"h": {0: batch, 1: Dim("past")}}}
    assert specs((X, STATE), shapes) == ["x=float32[batch,seq,3]", "state.h=float32[batch,past,3]"]
    assert specs((X, STATE), ({0: batch}, None)) == ["x=float32[batch,5,3]", "state.h=float32[2,4,3]"]


@pytest.mark.parametrize(
    ("dynamic_shapes", "message"),
    [
        ({"y": {0: Dim("b")}}, "has 'y', which is not an argument"),
        (({0: Dim("b")}, None), "has 2 entries, but the model is called with 1: x"),
        ({"x": {3: Dim("b")}}, "has the axis 3, but the input has 3 axes"),
        ({"x": (Dim("b"), None)}, "has 2 dims, but the input has 3"),
        ({"x": {1: 2 * Dim("half")}}, "has the dim '2*half' on axis 1, which is not a named size"),
        ({"x": 1}, "is 1, which is not a dict, list or None"),
        ("batch", "has the type str"),
    ],
)
def test_shapes_that_do_not_fit_are_refused_with_the_input_and_the_axis(dynamic_shapes: Any, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        specs((X,), dynamic_shapes)
    assert message in caught.value.what


@pytest.mark.slow
def test_a_build_with_dynamic_shapes_takes_every_size(tmp_path: Path) -> None:
    shapes = {"x": {0: Dim("batch"), 1: Dim("seq")}}
    bundle = bundler.build(Pair(), (X,), out=tmp_path / "b", name="pair", dynamic_shapes=shapes)
    assert str(bundle.signatures("pair")["serving_default"].inputs[0]) == "x=float32[batch,seq,3]"


@pytest.mark.parametrize("options", [{"inputs": ("x=float32[batch,5,3]",)}, {}])
def test_dynamic_shapes_need_examples_and_exclude_inputs(tmp_path: Path, options: Any) -> None:
    examples = (X,) if options else None
    with pytest.raises(UsageError, match="dynamic_shapes needs example_inputs"):
        bundler.build(Pair(), examples, out=tmp_path, name="pair", dynamic_shapes=({},), **options)
    with pytest.raises(UsageError, match="only with a module"):
        bundler.build("m.py:make", out=tmp_path, dynamic_shapes=({},))
