"""Outputs are named after keys, fields and positions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from bundler.errors import ExportError
from bundler.sources.outputs import name_outputs

A, B, C = torch.ones(1), torch.ones(2), torch.ones(3)


@dataclass
class Answer:
    logits: Tensor
    extra: Tensor | None = None


class Pair(NamedTuple):
    left: Tensor
    right: Tensor


@pytest.mark.parametrize(
    ("value", "names"),
    [
        (A, ["output"]),
        ((A, B), ["output_0", "output_1"]),
        ([A], ["output_0"]),
        ({"b": A, "a": B}, ["b", "a"]),
        (Answer(A, B), ["logits", "extra"]),
        (Answer(A), ["logits"]),
        (Pair(A, B), ["left", "right"]),
        ({"x": {"y": A, "z": [B, C]}}, ["x.y", "x.z_0", "x.z_1"]),
        ((A, (B, C)), ["output_0", "output_1_0", "output_1_1"]),
        ((A, None, B), ["output_0", "output_2"]),
        ({1: A, "a b": B, "2x": C}, ["output_1", "a_b", "_2x"]),
        ({"a b": A, "a:b": B}, ["a_b", "a_b_2"]),
    ],
)
def test_outputs_are_named_by_the_rules(value: Any, names: list[str]) -> None:
    assert list(name_outputs(value)) == names


def test_tensors_are_those_of_the_answer() -> None:
    named = name_outputs({"x": (A, B)})
    assert named["x_0"] is A and named["x_1"] is B


def test_model_outputs_of_transformers_are_named_after_their_fields() -> None:
    from transformers.modeling_outputs import BaseModelOutputWithPooling

    answer = BaseModelOutputWithPooling(last_hidden_state=A, pooler_output=B)
    assert list(name_outputs(answer)) == ["last_hidden_state", "pooler_output"]


@pytest.mark.parametrize("value", [{"a": A, "n": 3}, (A, "text"), 1.0])
def test_value_other_than_a_tensor_is_an_error(value: Any) -> None:
    with pytest.raises(ExportError, match="not a tensor"):
        name_outputs(value)


@pytest.mark.parametrize("value", [None, {}, ()])
def test_answer_without_tensors_is_an_error(value: Any) -> None:
    with pytest.raises(ExportError, match="returns no tensor"):
        name_outputs(value)
