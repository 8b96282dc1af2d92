"""Attribute values as plain data."""

from __future__ import annotations

from bundler.saved_model.op_values import plain_value, type_code, type_codes, type_name
from serving.protocol.messages import message


def test_each_kind_of_value_has_a_plain_form() -> None:
    value = message("tensorflow.AttrValue")
    assert plain_value(value()) is None
    assert plain_value(value(i=3)) == 3
    assert plain_value(value(b=False)) is False
    assert plain_value(value(f=0.1)) == 0.1
    assert plain_value(value(f=float("inf"))) == "inf"
    assert plain_value(value(s=b"SAME\xff")) == "SAME\\xff"
    assert plain_value(value(type=19)) == {"type": "j"}
    assert plain_value(value(placeholder="T")) == {"placeholder": "T"}
    assert plain_value(value(list={"i": [1, 2]})) == [1, 2]
    assert plain_value(value(list={})) == []
    assert plain_value(value(shape={"unknown_rank": True})) == {"shape": "1801"}


def test_types_have_one_character_and_a_name() -> None:
    assert type_codes([19, 1]) == "1j"
    assert type_code(10**6) == "?"
    assert [type_name(number) for number in (1, 2, 19, 14, 999)] == ["float32", "float64", "float16", "bfloat16", "type 999"]
