"""The format of a sample."""

from __future__ import annotations

import numpy as np

from bundler.adapters.samples import SampleFormat, batch_axis
from bundler.values.signature import Signature, TensorSpec

IDS, STATE = TensorSpec("ids", "int64", ("batch", "seq")), TensorSpec("state", "float32", (2, "batch", 5))
TABLE = TensorSpec("table", "float32", (3, 2))
FORMAT = SampleFormat(Signature((TABLE, IDS, STATE), ()), {"table": (3, 2), "ids": (4, 7), "state": (2, 4, 5)})


def test_samples_have_no_batch_axis() -> None:
    assert [batch_axis(spec) for spec in (IDS, STATE, TABLE)] == [0, 1, None]
    assert [FORMAT.sample_shape(spec) for spec in (IDS, STATE, TABLE)] == [(7,), (2, 5), (3, 2)]
    assert FORMAT.batch == 4


def test_samples_are_stacked_on_each_inputs_batch_axis() -> None:
    samples = [{"ids": np.full(7, i), "state": np.full((2, 5), i), "table": np.full((3, 2), i)} for i in range(4)]
    call = FORMAT.stacked(samples)
    assert {name: array.shape for name, array in call.items()} == dict(FORMAT.shapes)
    assert call["state"][:, 3].min() == 3
    assert call["table"].max() == 0  # the first sample's
