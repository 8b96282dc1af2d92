"""Draws of inputs are of the example's kind, in every size."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bundler.errors import UsageError
from bundler.values import input_draws
from bundler.values.signature import Signature, TensorSpec


def signature(*specs: str) -> Signature:
    return Signature(tuple(TensorSpec.parse(spec) for spec in specs), ())


def drawn(spec: str, example: np.ndarray) -> dict[str, np.ndarray]:
    """Return the arrays of a model with one input, by the name of the draw."""
    one = signature(spec)
    (name,) = one.input_names
    return {draw.name: draw.inputs[name] for draw in input_draws.draws(one, {name: example})}


def test_the_draws_are_the_example_a_random_one_and_other_batch_sizes() -> None:
    example = np.random.default_rng(1).normal(size=(2, 3)).astype(np.float32)
    draws = drawn("x=float32[batch,3]", example)
    assert {name: array.shape for name, array in draws.items()} == {
        "example": (2, 3), "random": (2, 3), "batch-1": (1, 3), "batch-5": (5, 3),
    }  # fmt: skip
    np.testing.assert_array_equal(draws["example"], example)
    assert not np.array_equal(draws["random"], example)


def test_another_length_changes_every_input_that_has_the_dim() -> None:
    sign = signature("ids=int64[batch,seq]", "states=float32[seq,batch,4]", "scale=float32[]")
    rng = np.random.default_rng(0)
    examples = {
        "ids": rng.integers(0, 30, (2, 10)),
        "states": rng.normal(size=(10, 2, 4)).astype(np.float32),
        "scale": np.float32(0.5).reshape(()),
    }
    shapes = {draw.name: [a.shape for a in draw.inputs.values()] for draw in input_draws.draws(sign, examples)}
    assert shapes == {
        "example": [(2, 10), (10, 2, 4), ()],
        "random": [(2, 10), (10, 2, 4), ()],
        "batch-1": [(1, 10), (10, 1, 4), ()],
        "batch-5": [(5, 10), (10, 5, 4), ()],
        "seq-5": [(2, 5), (5, 2, 4), ()],
        "seq-15": [(2, 15), (15, 2, 4), ()],
    }


def test_short_dims_get_lengths_of_two_or_more() -> None:
    assert set(drawn("x=float32[seq]", np.zeros(2, np.float32))) == {"example", "random", "seq-3"}
    assert set(drawn("x=float32[seq]", np.zeros(1, np.float32))) == {"example", "random", "seq-2"}


def test_the_same_seed_gives_the_same_values_without_numpys_global_generator() -> None:
    sign = signature("x=float32[batch,4]")
    examples = {"x": np.linspace(-1, 1, 8, dtype=np.float32).reshape(2, 4)}
    np.random.seed(3)
    before = np.random.get_state()[1].copy()
    first, second = input_draws.draws(sign, examples, seed=7), input_draws.draws(sign, examples, seed=7)
    other = input_draws.draws(sign, examples, seed=8)
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a.inputs["x"], b.inputs["x"])
    assert not np.array_equal(first[1].inputs["x"], other[1].inputs["x"])
    np.testing.assert_array_equal(np.random.get_state()[1], before)


@given(
    hnp.arrays(
        st.sampled_from([np.float32, np.float64, np.float16, np.int64, np.int8, np.uint8, np.bool_]),
        hnp.array_shapes(min_dims=1, max_dims=3, max_side=6),
        elements={"allow_nan": False, "allow_infinity": False},
    )
)
def test_draws_have_the_examples_dtype_and_range(example: np.ndarray) -> None:
    dims = ",".join(["batch", *map(str, example.shape[1:])])
    for array in drawn(f"x={example.dtype.name}[{dims}]", example).values():
        assert array.dtype == example.dtype
        if example.dtype != np.bool_ and example.any():
            assert array.min() >= example.min()
            assert array.max() <= example.max()


def test_floats_have_the_examples_mean_and_spread() -> None:
    example = np.random.default_rng(0).normal(5, 2, (2, 5000)).astype(np.float32)
    draw = drawn("x=float32[batch,5000]", example)["random"]
    assert abs(draw.mean() - 5) < 0.1
    assert abs(draw.std() - 2) < 0.1


def test_zeros_become_standard_normal_floats_but_stay_zeros_as_integers() -> None:
    floats = drawn("x=float32[batch,1000]", np.zeros((2, 1000), np.float32))["random"]
    assert 0.9 < floats.std() < 1.1
    assert not drawn("x=int64[batch,7]", np.zeros((2, 7), np.int64))["batch-5"].any()


@pytest.mark.parametrize("dtype", ["int64", "float32", "bool"])
def test_a_mask_of_ones_stays_ones(dtype: str) -> None:
    for array in drawn(f"mask={dtype}[batch,seq]", np.ones((2, 8), dtype)).values():
        assert array.dtype == dtype
        assert array.all()


@pytest.mark.parametrize("dtype", ["int64", "float32", "bool"])
@pytest.mark.parametrize("first", [0, 1])
def test_a_padding_mask_stays_one_with_both_values_in_every_row(dtype: str, first: int) -> None:
    rows = np.array([[1, 1, 1, 0, 0, 0], [1, 1, 0, 0, 0, 0]]) == first
    draws = drawn(f"mask={dtype}[batch,seq]", rows.astype(dtype))
    lengths = {name: array.astype(int).sum(-1) for name, array in draws.items()}
    for array in draws.values():
        steps = np.diff(array.astype(int), axis=-1)
        assert (array[:, 0] == bool(rows[0, 0])).all()
        assert ((steps != 0).sum(-1) == 1).all(), array
    assert len(set(lengths["batch-5"])) > 1


def test_booleans_without_pattern_are_random() -> None:
    draw = drawn("x=bool[batch,3]", np.array([[True, False, True], [False, True, True]]))["batch-5"]
    assert draw.dtype == np.bool_
    assert draw.any()
    assert not draw.all()


def test_strings_and_infinities_are_drawn_from_the_example() -> None:
    words = drawn("x=string[batch]", np.array(["red", "green"]))["batch-5"]
    assert words.shape == (5,)
    assert set(words) <= {"red", "green"}
    additive = np.array([[0, -np.inf, -np.inf], [0, 0, -np.inf]], np.float32)
    mask = drawn("x=float32[batch,3]", additive)["batch-5"]
    assert mask.dtype == np.float32
    assert set(np.unique(mask)) <= {0.0, -np.inf}


def test_bfloat16_and_complex_keep_their_dtype() -> None:
    example = np.random.default_rng(0).normal(size=(2, 50))
    bf = drawn("x=bfloat16[batch,50]", example.astype(ml_dtypes.bfloat16))["batch-5"]
    assert bf.dtype == ml_dtypes.bfloat16
    assert bf.astype(np.float32).std() > 0.5
    wave = drawn("x=complex64[batch,50]", (example + 2j * example).astype(np.complex64))["batch-5"]
    assert wave.dtype == np.complex64
    assert wave.imag.std() > wave.real.std()


def test_fit_cuts_and_repeats_examples() -> None:
    sign = signature("ids=int64[batch,seq]")
    example = {"ids": np.arange(6).reshape(2, 3)}
    np.testing.assert_array_equal(input_draws.fit(sign, example, {"batch": 1})["ids"], [[0, 1, 2]])
    np.testing.assert_array_equal(
        input_draws.fit(sign, example, {"batch": 3, "seq": 4})["ids"], [[0, 1, 2, 0], [3, 4, 5, 3], [0, 1, 2, 0]]
    )


@pytest.mark.parametrize(
    ("examples", "message"),
    [
        ({"x": np.zeros((2, 3))}, "no example for the input y="),
        ({"x": np.zeros(3), "y": np.zeros((2, 4))}, r"x=float64\[batch,3\] has the shape \[3\]"),
        ({"x": np.zeros((2, 5)), "y": np.zeros((2, 4))}, "has the shape"),
        ({"x": np.zeros((2, 3)), "y": np.zeros((4, 4))}, "'batch' is 2 elsewhere"),
    ],
)
def test_examples_that_do_not_fit_the_signature_are_refused(examples: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        input_draws.draws(signature("x=float64[batch,3]", "y=float64[batch,4]"), examples)
