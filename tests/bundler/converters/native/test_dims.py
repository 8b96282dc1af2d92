"""Arithmetic with sizes that are known or dynamic."""

from __future__ import annotations

import pytest
import tensorflow as tf

from bundler.converters.native.dims import Dim, add, divide, full_shape, multiply, product, subtract, tensor_shape


def dim(name: str, size: int) -> Dim:
    return Dim(name, lambda: tf.constant(size, tf.int64))


def test_known_sizes_are_computed_at_build_time() -> None:
    assert product([2, 3, 4]) == 24
    assert add(2, 3) == 5
    assert subtract(2, 3) == -1
    assert divide(-7, 2) == -3
    assert divide(2**60 + 1, 2) == 2**59


def test_neutral_elements_leave_the_dim_unchanged() -> None:
    n = dim("n", 7)
    assert multiply(n, 1) is n
    assert multiply(1, n) is n
    assert add(0, n) is n
    assert subtract(n, 0) is n
    assert divide(n, 1) is n
    assert multiply(n, 0) == 0
    assert subtract(n, dim("n", 7)) == 0
    assert divide(n, dim("n", 7)) == 1


@pytest.mark.parametrize(("compute", "expected"), [(multiply, 21), (add, 10), (subtract, 4), (divide, 2)])
def test_dynamic_sizes_are_computed_at_run_time(compute: object, expected: int) -> None:
    result = compute(dim("n", 7), 3)  # type: ignore[operator]
    assert isinstance(result, Dim)
    assert int(result.tensor) == expected


def test_shapes_have_the_forms_that_tensorflow_takes() -> None:
    n, m = dim("n", 7), dim("m", 5)
    assert tensor_shape([n, 3]) == [-1, 3]
    assert tensor_shape([2, 3]) == [2, 3]
    assert tensor_shape([n, m, 3]).numpy().tolist() == [7, 5, 3]
    assert full_shape([2, 3]) == [2, 3]
    assert full_shape([n, 3]).numpy().tolist() == [7, 3]


def test_dims_of_the_same_name_are_equal() -> None:
    assert dim("n", 7) == dim("n", 7)
    assert dim("n", 7) != dim("m", 7)
    assert repr(multiply(dim("n", 7), 2)) == "Dim((n*2))"
