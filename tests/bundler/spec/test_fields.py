"""What the models say about their fields."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field, PositiveInt

from bundler.spec.bundle_spec import BundleSpec, ModelSpec
from bundler.spec.fields import SpecField, find_place, type_text, walk
from bundler.spec.option import Option
from bundler.spec.options import spec_fields


class Inner(BaseModel):
    size: int = Field(1, ge=1, le=9)


class Outer(BaseModel):
    share: Annotated[Annotated[float, Field(gt=0, le=1)] | None, Option(flag="--part")] = None
    kinds: tuple[Literal["a", "b"], ...] = ("a",)
    inner: Inner | None = None
    by_name: dict[str, Inner] = {}
    size: int | tuple[int, int] = 3
    low: float = Field(0.5, lt=2)


FIELDS = {".".join(field.path): field for field in walk(Outer)}


def test_walk_goes_into_sections_after_their_field() -> None:
    assert list(FIELDS) == ["share", "kinds", "inner", "inner.size", "by_name", "by_name.size", "size", "low"]


def test_bounds_are_found_within_a_union() -> None:
    share = FIELDS["share"]
    assert (share.limits, share.bounds, share.interval) == ({"gt": 0, "le": 1}, "greater than 0 and at most 1", "0<x<=1")
    assert (FIELDS["inner.size"].bounds, FIELDS["inner.size"].interval) == ("from 1 to 9", "1<=x<=9")
    assert (FIELDS["low"].bounds, FIELDS["low"].interval) == ("less than 2", "x<2")
    assert (FIELDS["size"].bounds, FIELDS["size"].interval, FIELDS["size"].rule) == ("", "", "")


def test_choices_and_defaults_are_plain_values() -> None:
    assert (FIELDS["kinds"].choices, FIELDS["kinds"].default, FIELDS["kinds"].rule) == (("a", "b"), ["a"], " One of a, b.")
    assert FIELDS["by_name"].default == {}
    assert FIELDS["inner"].section is FIELDS["by_name"].section is Inner


def test_the_marker_of_a_field_is_kept() -> None:
    assert FIELDS["share"].option.flag == "--part"
    assert FIELDS["low"].option == Option()
    assert (FIELDS["share"].is_number, FIELDS["size"].is_number, FIELDS["kinds"].is_flag) == (True, False, False)


def test_types_in_words() -> None:
    assert type_text(int | tuple[int, int] | None) == "a whole number or a list of 2 whole numbers"
    assert type_text(str | tuple[str, ...]) == "a string or a list of strings"
    assert type_text(tuple[Literal["a", "b"], ...]) == "a list of a, b"
    assert type_text(dict[str, PositiveInt]) == type_text(Inner) == "a mapping"
    assert type_text(bool) == "true or false"


@pytest.mark.parametrize(
    ("location", "keys", "field"),
    [
        (("models", 0, "layout"), ("models", 0, "layout"), ("models", "layout")),
        (("models", 0, "signatures", "e", "text", "max_length"), None, ("models", "signatures", "text", "max_length")),
        (("models", 0, "tflite", "images", "resize", "tuple[int, int]", 1), ("models", 0, "tflite", "images", "resize"), None),
        (("models", 0, "labels", "str"), ("models", 0, "labels"), None),
        (("models", 0, "tflite", "shapes", "a b", "[key]"), ("models", 0, "tflite", "shapes", "a b"), None),
        (("models", 0, "colour"), ("models", 0, "colour"), None),
    ],
)
def test_the_place_of_an_error_has_no_names_of_union_branches(
    location: tuple[int | str, ...], keys: tuple[int | str, ...] | None, field: tuple[str, ...] | None
) -> None:
    place = find_place(BundleSpec, location)
    assert place.keys == (keys or location)
    if field:
        assert place.field is not None
        assert place.field.path == field


def test_a_required_field_has_no_default() -> None:
    name = SpecField(("models", "name"), ModelSpec.model_fields["name"])
    assert (name.is_required, name.default, name.examples) == (True, None, ["resnet18"])


def test_every_field_of_bundle_yaml_is_described_and_its_examples_have_its_type() -> None:
    for field in spec_fields():
        assert field.description[-1:] == ".", field.path
        assert "\n" not in field.description
        for example in field.examples:
            kinds = {
                "a list": list, "a mapping": dict, "true": bool, "a number": float, "a whole": int, "a string": str,
                "one of": str,
            }  # fmt: skip
            allowed = tuple(kind for words, kind in kinds.items() if words in field.type_text)
            assert isinstance(example, allowed), (field.path, example)
