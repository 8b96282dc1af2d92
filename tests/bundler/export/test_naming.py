"""Names of dynamic dims and of outputs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bundler.errors import UsageError
from bundler.export.naming import choose_names, choose_outputs, name_dims, unname_dims
from bundler.values.signature import TensorSpec
from tests.bundler.exporting import Answers, export_module


@pytest.mark.parametrize(
    ("outputs", "what"),
    [
        (("one",), "--output gives 1 name, but the model has 2 outputs"),
        (("a", "a"), "the name 'a'"),
        (("x", "b"), "an input's name"),
    ],
)
def test_wrong_output_names_are_refused(tmp_path: Path, outputs: tuple[str, ...], what: str) -> None:
    with pytest.raises(UsageError, match=what):
        export_module(Answers("tuple"), tmp_path, torch.ones(2, 3), outputs=outputs)


def test_dims_get_unique_names_and_lose_them_again() -> None:
    specs = tuple(TensorSpec.parse(text) for text in ("x=float32[?,batch,?]", "y=float32[?,3]"))
    named = name_dims(specs)
    dims = [dim for spec in named for dim in spec.dims if isinstance(dim, str)]
    assert len(set(dims)) == len(dims) == 4 and "batch" in dims
    assert unname_dims(named) == specs


def test_an_output_that_has_an_inputs_name_is_renamed() -> None:
    assert choose_names(["x", "y"], [], ["x"]) == ("x_output", "y")
    assert choose_names(["x", "y"], ["a", "b"], ["x"]) == ("a", "b")


def test_all_outputs_are_selected_by_default() -> None:
    assert choose_outputs(["a", "b"], [], "s") == ("a", "b")
    assert choose_outputs(["a", "b"], ["b"], "s") == ("b",)
    with pytest.raises(UsageError, match="selects the output 'c'") as caught:
        choose_outputs(["a", "b"], ["c"], "s")
    assert caught.value.fix == "choose from its outputs: a, b"
