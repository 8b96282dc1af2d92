"""Signatures: their text form, their dims, and their form in bundle.json."""

from __future__ import annotations

import pytest

from bundler.errors import UsageError
from bundler.values.signature import Signature, TensorSpec


@pytest.mark.parametrize("text", ["x=float32[batch,3,224,224]", "a.b/c-d=string[?]", "x=float32[]", "_x=bfloat16[seq]"])
def test_a_spec_is_written_as_it_was_parsed(text: str) -> None:
    assert str(TensorSpec.parse(text)) == text


def test_spaces_are_ignored() -> None:
    assert TensorSpec.parse(" x = int64 [ batch , ? ] ") == TensorSpec("x", "int64", ("batch", None))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x", "does not have the form"),
        ("x=float32[2]\n", "does not have the form"),
        ("1x=float32[2]", "does not have the form"),
        ("x=float[2]", "the unknown dtype 'float'"),
        ("x=float32[0]", "the invalid dim '0'"),
        ("x=float32[-1]", "the invalid dim '-1'"),
        ("x=float32[2,]", "the invalid dim ''"),
    ],
)
def test_a_malformed_spec_is_refused_with_an_example(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        TensorSpec.parse(text)
    assert caught.value.fix


SIGNATURE = Signature(
    (TensorSpec.parse("ids=int64[batch,seq]"), TensorSpec.parse("mask=int64[batch,?]")),
    (TensorSpec.parse("y=float32[batch,3]"),),
)


def test_names_and_dynamic_dims_are_listed_once_and_in_order() -> None:
    assert SIGNATURE.input_names == ("ids", "mask")
    assert SIGNATURE.output_names == ("y",)
    assert SIGNATURE.dynamic_dims == ("batch", "seq")
    assert SIGNATURE.inputs[1].shape == (None, None)
    assert SIGNATURE.outputs[0].dynamic_axes == (0,)


def test_json_gives_the_signature_back() -> None:
    assert Signature.from_json(SIGNATURE.to_json()) == SIGNATURE
