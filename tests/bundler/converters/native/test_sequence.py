"""Sequences and optionals as lists of Values, and their way through loops and branches as tensors."""

from __future__ import annotations

import tensorflow as tf

from bundler.converters.native.sequence import EmptyOptional, SequenceValue, flatten, restore, structure
from bundler.converters.native.value import Value
from bundler.converters.native.weights import WeightStore

STORE = WeightStore(constants_only=True)


def tensor(number: int) -> Value:
    return Value.of(tf.constant(number), STORE)


def test_values_are_restored_from_their_structure_and_tensors() -> None:
    nested = SequenceValue([tensor(1), SequenceValue([tensor(2), EmptyOptional(STORE)], STORE), tensor(3)], STORE)
    values = [nested, EmptyOptional(STORE), tensor(4)]
    structures = [structure(value) for value in values]
    assert structures == [[True, [True, None], True], None, True]
    tensors = [t for value in values for t in flatten(value)]
    restored = restore(structures, tensors, STORE)
    assert [structure(value) for value in restored] == structures
    assert [int(t) for value in restored for t in flatten(value)] == [1, 2, 3, 4]


def test_a_sequence_has_no_rank() -> None:
    assert SequenceValue([tensor(1)], STORE).rank is None
    assert EmptyOptional(STORE).rank is None
