"""How answers are compared with recorded ones: what may differ, and what may not."""

from __future__ import annotations

import pytest

from tests.serving.server.known_differences import KNOWN, SHARE
from tests.serving.server.recordings import ROWS, NearFloat, _body_differences


@pytest.mark.parametrize(
    ("recorded", "got", "equal"),
    [
        ("0.162891269", "0.162891284", True),
        ("0.162891269", "0.1629", False),
        ("1.0", "1.00", False),
        ("1.0", "-1.0", False),
        ("0.0", "-0.0", False),
        ("0.1000000000000000056", "0.1", False),
        ("0.33333333333333331", "0.33333333333333337", False),
    ],
)
def test_floats_may_differ_only_in_the_last_digits_of_float32(recorded: str, got: str, equal: bool) -> None:
    assert (NearFloat(recorded) == NearFloat(got)) is equal
    body = '{\n    "predictions": [\n        %s\n    ]\n}'
    assert (not _body_differences((body % recorded).encode(), (body % got).encode())) is equal


def test_layout_and_whole_numbers_are_exact() -> None:
    assert _body_differences(b'{"outputs": 1}', b'{"outputs": 2}')
    assert _body_differences(b'{"outputs": 1}', b'{"outputs": 1.0}')
    assert _body_differences(b'{"outputs": 1.5}', b'{"outputs":1.5}')


def test_known_differences_are_few_and_name_recordings() -> None:
    recorded = {row["id"] for row in ROWS if "id" in row}
    assert KNOWN.keys() <= recorded
    assert len(KNOWN) <= SHARE * len(recorded)
