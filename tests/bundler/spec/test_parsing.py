"""Texts of the command line as values."""

from __future__ import annotations

import pytest

from bundler.errors import UsageError
from bundler.spec.parsing import (
    parse_counts,
    parse_dims,
    parse_names,
    parse_number,
    parse_numbers,
    parse_shapes,
    parse_signatures,
)


def test_names_sizes_and_signatures() -> None:
    assert parse_names(" float16, int8,") == ("float16", "int8")
    assert parse_dims("batch=1, seq=64") == {"batch": 1, "seq": 64}
    assert parse_signatures(["embed=encode", "decode"]) == {
        "embed": {"method": "encode"},
        "decode": {"method": "decode"},
    }
    for text in ("seq", "=1", "a b=1", "batch=1,seq"):
        with pytest.raises(UsageError, match="name=number"):
            parse_dims(text)
    assert parse_dims("seq=0,batch=x") == {"seq": 0, "batch": "x"}, "the model's validator rejects them"
    with pytest.raises(UsageError, match="NAME=METHOD"):
        parse_signatures(["a b=c"])


def test_shapes_have_a_name_and_sizes() -> None:
    assert parse_shapes(["long:seq=256", "pair:batch=2,seq=8"]) == {"long": {"seq": 256}, "pair": {"batch": 2, "seq": 8}}
    for text in ("long", "long:", ":seq=2", "a b:seq=2"):
        with pytest.raises(UsageError, match="NAME:dim=number"):
            parse_shapes([text])


def test_lists_of_numbers() -> None:
    assert parse_counts("1, 4,16") == (1, 4, 16)
    assert parse_numbers("0.5, 1") == (0.5, 1.0)
    for text in ("", "0", "x", "1.5"):
        with pytest.raises(UsageError, match="whole numbers of 1 or more"):
            parse_counts(text)
    for text in ("a", "nan", "1,inf"):
        with pytest.raises(UsageError, match="is not a list of numbers"):
            parse_numbers(text)


def test_a_number_is_read_as_yaml_reads_it_and_other_text_stays() -> None:
    assert [parse_number(text) for text in ("-1", "1e-3", "abc")] == [-1, 1e-3, "abc"]
    assert isinstance(parse_number("3"), int)
