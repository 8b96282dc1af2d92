"""How the answers of two versions to one request are compared."""

from __future__ import annotations

import numpy as np
import pytest

from serving.protocol.tensors import BFloat16Bits
from serving.shadow.answers import OutputComparison, _sum_abs, compare_answers
from tests.serving.memory import assert_allocates_less_than

SCORES = np.array([[0.1, 0.7, 0.2], [0.5, 0.1, 0.4]], np.float32)


def one(first: np.ndarray, second: np.ndarray) -> OutputComparison:
    (compared,) = compare_answers({"y": first}, {"y": second}, verb="Predict")
    return compared


def test_figures_are_those_of_the_elements() -> None:
    compared = one(np.array([1.0, 2.0, 4.0]), np.array([1.0, 3.0, 4.5]))
    assert (compared.sum_abs, compared.elements, compared.rows) == (1.5, 3, 0)
    assert compared.difference.max_abs == 1.0
    integers = one(np.array([1, 5]), np.array([1, 8]))
    assert (integers.sum_abs, integers.elements) == (3.0, 2)
    booleans = one(np.array([True, False]), np.array([True, True]))
    assert (booleans.sum_abs, booleans.elements) == (1.0, 2)
    complex_numbers = one(np.array([3 + 4j]), np.array([0j]))
    assert complex_numbers.sum_abs == 5.0
    scalar = one(np.array(2.0, np.float32), np.array(1.0, np.float32))
    assert (scalar.sum_abs, scalar.elements) == (1.0, 1)


def test_elements_that_are_not_finite_have_no_part_in_the_mean() -> None:
    compared = one(np.array([np.nan, np.inf, 1.0]), np.array([np.nan, np.inf, 2.0]))
    assert (compared.sum_abs, compared.elements, compared.difference.problem) == (1.0, 1, None)
    assert one(np.array([np.nan]), np.array([1.0])).difference.problem


def test_rows_with_another_top_class_are_counted() -> None:
    other = SCORES[:, ::-1].copy()
    assert (one(SCORES, SCORES).same_top, one(SCORES, SCORES).rows) == (2, 2)
    assert (one(SCORES, other).same_top, one(SCORES, other).rows) == (1, 2)


@pytest.mark.parametrize("shape", [(6,), (6, 1), (2, 3, 1)])
def test_outputs_of_other_forms_have_no_top_class(shape: tuple[int, ...]) -> None:
    values = np.arange(6, dtype=np.float32).reshape(shape)
    assert one(values, values).rows == 0
    assert one(SCORES.astype(np.int32), SCORES.astype(np.int32)).rows == 0


def test_class_that_was_added_keeps_the_top_class_comparable() -> None:
    compared = one(SCORES, np.pad(SCORES, ((0, 0), (0, 1))))
    assert compared.difference.problem == "expected shape [2, 3], got [2, 4]"
    assert (compared.same_top, compared.rows, compared.elements) == (2, 2, 0)


@pytest.mark.parametrize("second", [SCORES[:1], SCORES.astype(str).astype(object), SCORES[0]])
def test_scores_that_cannot_be_compared_have_no_top_class_in_common(second: np.ndarray) -> None:
    compared = one(SCORES, second)
    assert compared.difference.problem or compared.difference.max_rel == np.inf
    assert (compared.same_top, compared.rows) == (0, 2)


def test_output_that_one_answer_lacks_is_a_problem_of_that_version() -> None:
    first, second = compare_answers({"a": SCORES}, {"b": SCORES}, verb="Predict")
    assert first.difference.problem == "the second version does not answer it" and (first.rows, first.same_top) == (2, 0)
    assert second.difference.problem == "the first version does not answer it" and second.rows == 0


def test_scores_of_classify_belong_to_their_labels() -> None:
    labels = np.array([["a", "b", "c"], ["a", "b", "c"]], object)
    first = {"classes": labels, "scores": SCORES}
    second = {"classes": labels[:, ::-1], "scores": SCORES[:, ::-1]}
    by_name = {each.name: each for each in compare_answers(first, second, verb="Classify")}
    assert (by_name["scores"].same_top, by_name["scores"].rows) == (2, 2)
    assert by_name["classes"].difference.max_rel == np.inf and by_name["classes"].rows == 0
    by_name = {each.name: each for each in compare_answers(first, second, verb="Predict")}
    assert by_name["scores"].same_top == 1  # by position: only the class in the middle keeps its place


def test_chosen_outputs_are_compared_alone() -> None:
    answers = {"a": SCORES, "b": SCORES}
    assert [each.name for each in compare_answers(answers, answers, verb="Predict", outputs=("b", "c"))] == ["b"]


def test_bfloat16_without_ml_dtypes_is_compared_by_value() -> None:
    bits = SCORES.view(np.uint32) >> 16
    first = bits.astype(np.uint16).view(BFloat16Bits)
    second = (bits + 1).astype(np.uint16).view(BFloat16Bits)
    compared = one(first, second)
    assert compared.difference.problem is None and 0 < compared.difference.max_rel < 0.02
    assert compared.elements == 6 and 0 < compared.sum_abs < 0.02
    assert compared.rows == 2


def test_mean_of_a_large_output_takes_little_memory() -> None:
    first, second = np.ones(8_000_000, np.float32), np.full(8_000_000, 2, np.float32)
    with assert_allocates_less_than(40_000_000):
        assert _sum_abs(first, second) == (8_000_000.0, 8_000_000)
