"""Reference outputs: their inputs in the served order of axes."""

from __future__ import annotations

from typing import Any

import numpy as np

from bundler.values.reference import ReferenceOutputs, to_served

INPUTS = {"image": np.zeros((2, 3, 4, 5)), "ids": np.zeros((2, 7))}
NHWC = {"image": (0, 2, 3, 1)}


def test_permuted_inputs_are_transposed_and_contiguous() -> None:
    served = to_served(INPUTS, NHWC)
    assert served["image"].shape == (2, 4, 5, 3) and served["image"].flags.c_contiguous
    assert served["ids"] is INPUTS["ids"]


def test_inputs_that_are_served_already_are_not_transposed() -> None:
    exported: Any = None
    assert ReferenceOutputs(exported, ()).to_served(INPUTS, NHWC)["image"].shape == (2, 4, 5, 3)
    assert ReferenceOutputs(exported, (), served=True).to_served(INPUTS, NHWC)["image"].shape == (2, 3, 4, 5)
