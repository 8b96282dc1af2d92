"""The line about fixed dims: which, why, and what to write."""

from __future__ import annotations

from bundler.values.fixed_dims import EXAMPLE, GIVEN, NEEDED, FixedDim, FixedDims
from bundler.values.signature import TensorSpec

IMAGE = FixedDims(
    (FixedDim("x", 1, 3, NEEDED), FixedDim("x", 2, 8, EXAMPLE), FixedDim("x", 3, 9, EXAMPLE)),
    ("x=float32[batch,3,height,width]",),
)


def test_dims_of_one_reason_are_named_together_with_the_option_that_frees_them() -> None:
    assert IMAGE.explained() == (
        "axis 1 of x is 3 (the model accepts no other size), axes 2 and 3 of x are 8 and 9 (as in the example inputs). "
        "To let them vary: --input 'x=float32[batch,3,height,width]'"
    )


def test_a_bundle_yaml_gets_a_line_of_yaml() -> None:
    quoted = FixedDims((FixedDim("it's", 1, 4, GIVEN),), ("it's=int64[batch,seq]",))
    assert IMAGE.explained(in_file=True).endswith("To let them vary: inputs: ['x=float32[batch,3,height,width]']")
    assert quoted.explained(in_file=True) == (
        "axis 1 of it's is 4 (as given). To let them vary: inputs: ['it''s=int64[batch,seq]']"
    )


def test_inputs_with_the_same_fixed_dims_are_named_together() -> None:
    fixed = FixedDims(tuple(FixedDim(name, 1, 5, NEEDED) for name in ("ids", "mask", "segments")))
    assert fixed.explained() == "axis 1 of ids, mask and segments is 5 (the model accepts no other size)."


def test_a_further_signature_names_its_own_setting() -> None:
    fixed = FixedDims().with_signature("encode", [TensorSpec("x", "float32", ("batch", 3))])
    assert fixed.explained() == "axis 1 of x in encode is 3 (as signatures: encode: inputs: says)."


def test_json_keeps_everything() -> None:
    fixed = FixedDims(IMAGE.dims, IMAGE.free, "export the file again")
    assert FixedDims.from_json(fixed.to_json()) == fixed
