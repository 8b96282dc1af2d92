"""Requests of several sizes."""

from __future__ import annotations

import numpy as np

from serving.advise.mix import RequestMix
from serving.client.prepared_request import PreparedRequest


def request(rows: int, length: int = 4, signature: str = "serving_default") -> PreparedRequest:
    inputs = {"ids": np.zeros((rows, length), np.int64)}
    return PreparedRequest("m", inputs, signature, outputs={"y": np.zeros(rows, np.float32)})


def test_a_mix_knows_its_rows_and_lengths() -> None:
    mix = RequestMix((request(1), request(8, 9)))
    assert (mix.rows, mix.mean_rows, mix.varying) == (8, 4.5, ("ids",))
    assert str(mix) == "serving_default, 1 or 8 rows per request, ids of different lengths"
    demand = mix.demand(4, pads=True)
    assert (demand.clients, demand.rows, demand.at_once, demand.pads) == (4, 8, 18, True)
    assert all(not each.outputs for each in mix.unchecked())


def test_lengths_of_different_signatures_do_not_meet_in_a_batch() -> None:
    mix = RequestMix((request(1), request(1, 9, "other")))
    assert mix.varying == () and not mix.demand(4, pads=True).pads
    assert str(mix) == "other, serving_default, 1 row per request"


def test_many_sizes_are_a_range() -> None:
    assert "1 to 6 rows" in str(RequestMix(tuple(request(rows) for rows in range(1, 7))))
