"""Signatures: their text form, their dims, and their form in bundle.json."""

from __future__ import annotations

import pytest

from bundler.errors import UsageError
from bundler.values.signature import Signature, TensorSpec, check_names


@pytest.mark.parametrize(
    "text",
    ["x=float32[batch,3,224,224]", "a.b/c-d=string[?]", "x=float32[]", "_x=bfloat16[seq]", "0=int8[1]",
     "größe \"x\"=y[0]=bool[2]"],
)  # fmt: skip
def test_a_spec_is_written_as_it_was_parsed(text: str) -> None:
    assert str(TensorSpec.parse(text)) == text


def test_spaces_are_ignored() -> None:
    assert TensorSpec.parse(" x = int64 [ batch , ? ] ") == TensorSpec("x", "int64", ("batch", None))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x", "does not have the form"),
        ("x=float32[2]\n", "does not have the form"),
        ("=float32[2]", "does not have the form"),
        ("x\x00=float32[2]", "does not have the form"),
        ("x\u202e=float32[2]", "does not have the form"),
        ("x=float32[99999999999999999999]", "the invalid dim '9+'"),
        ("x=float32[²]", "the invalid dim"),
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


@pytest.mark.parametrize("name", ["x", "a b", "a=b[2]", "\"'`", "é\n", ""])
def test_a_recorded_spec_is_read_whatever_its_name_holds(name: str) -> None:
    spec = TensorSpec(name, "float32", (1, None, 0))
    assert TensorSpec.read(str(spec)) == spec
    with pytest.raises(ValueError, match="is not a tensor"):
        TensorSpec.read("x float32[1]")


@pytest.mark.parametrize("name", ["", "a\0", "a\nb", "\x1b[31m", "a\u202eb", "\ufeff", "\ud800"])
def test_names_that_cannot_be_shown_are_refused(name: str) -> None:
    good, bad = TensorSpec("größe [red] $(x)", "float32", ("batch size",)), TensorSpec(name, "float32", ())
    check_names(Signature((good,), ()))
    for signature in (Signature((bad,), ()), Signature((good,), (bad,)), Signature((TensorSpec("x", "int8", (name,)),), ())):
        with pytest.raises(UsageError, match="cannot be shown") as caught:
            check_names(signature)
        assert caught.value.fix
