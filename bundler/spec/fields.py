"""What the models of bundler.spec say about a field: its type, default, choices, bounds and examples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from bundler.spec.option import Option

_NAMES = {str: "a string", int: "a whole number", float: "a number", bool: "true or false"}
_PLURALS = {str: "strings", int: "whole numbers", float: "numbers"}
INT32 = 2**31 - 1
"""The largest 32-bit integer. Documentation leaves out upper bounds that only say how many bits a number has."""
INT64 = 2**63 - 1
"""The largest 64-bit integer."""

_BOUNDS = {"ge": "at least {}", "gt": "greater than {}", "le": "at most {}", "lt": "less than {}"}


@dataclass(frozen=True)
class SpecField:
    """A field of a spec model.

    Attributes:
        path: its key in bundle.yaml, beginning with the section; the model's list stands for all of its models.
        info: what pydantic knows about it.
    """

    path: tuple[str, ...]
    info: FieldInfo

    @property
    def name(self) -> str:
        """Name of the field in its model."""
        return self.path[-1]

    @cached_property
    def option(self) -> Option:
        """The field's marker, or the default one."""
        return next((mark for mark in self.info.metadata if isinstance(mark, Option)), Option())

    @property
    def description(self) -> str:
        """What the field means, in one or two sentences."""
        return self.info.description or ""

    @property
    def is_required(self) -> bool:
        """Whether bundle.yaml must have the key."""
        return self.info.is_required()

    @property
    def default(self) -> Any:
        """The default in the types of YAML; None for a required field."""
        return None if self.info.default is PydanticUndefined else plain(self.info.default)

    @property
    def examples(self) -> Sequence[Any]:
        """Values that show what the field takes."""
        return self.info.examples or ()

    @property
    def section(self) -> type[BaseModel] | None:
        """The model of the field's value, or of the members of a list or mapping."""
        return section_of(self.info.annotation)

    @property
    def choices(self) -> tuple[str, ...]:
        """The allowed values of the field, or of each member of a list."""
        return next((get_args(part) for part in _parts(self.info.annotation) if get_origin(part) is Literal), ())

    @property
    def bounds(self) -> str:
        """The allowed range of a number: `at least 7`, `from 1 to 65535`."""
        limits = self.stated_limits
        if {"ge", "le"} <= set(limits):
            return f"from {limits['ge']:g} to {limits['le']:g}"
        return " and ".join(_BOUNDS[key].format(f"{value:g}") for key, value in limits.items())

    @property
    def interval(self) -> str:
        """The allowed range of a number in short: `x>=7`, `0<x<=1`."""
        limits = self.stated_limits
        low = next((f"{limits[key]:g}{sign}" for key, sign in (("ge", "<="), ("gt", "<")) if key in limits), "")
        high = next((f"{sign}{limits[key]:g}" for key, sign in (("le", "<="), ("lt", "<")) if key in limits), "")
        if low and not high:
            return "x>" + ("=" if "ge" in limits else "") + low.rstrip("<=")
        return f"{low}x{high}" if limits else ""

    @cached_property
    def limits(self) -> dict[str, float]:
        """The range's ends: `ge`, `gt`, `le`, `lt`."""
        marks = [*self.info.metadata, *_constraints(self.info.annotation)]
        return {key: getattr(mark, key) for key in _BOUNDS for mark in marks if getattr(mark, key, None) is not None}

    @property
    def stated_limits(self) -> dict[str, float]:
        """The range's ends without those that only say how many bits a number has."""
        return {key: value for key, value in self.limits.items() if value not in (INT32, INT64)}

    @property
    def rule(self) -> str:
        """The choices or the range as a sentence, with a space before it; empty if any value is allowed."""
        if self.choices:
            return f" One of {', '.join(self.choices)}."
        return f" {self.bounds.capitalize()}." if self.bounds else ""

    @property
    def is_flag(self) -> bool:
        """Whether the field is true or false."""
        return _without_none(self.info.annotation) is bool

    @property
    def is_number(self) -> bool:
        """Whether the field is one number."""
        return _without_none(self.info.annotation) in (int, float)

    @property
    def type_text(self) -> str:
        """The field's type in words: `a list of strings`."""
        return type_text(self.info.annotation)


def walk(model: type[BaseModel], prefix: tuple[str, ...] = ()) -> Iterator[SpecField]:
    """Yield the fields of a model and of the sections in it, in order; each section comes before its keys."""
    for name, info in model.model_fields.items():
        field = SpecField((*prefix, name), info)
        yield field
        if field.section:
            yield from walk(field.section, field.path)


@dataclass(frozen=True)
class Place:
    """The place of a validation error.

    Attributes:
        keys: the keys in bundle.yaml that lead there.
        field: the last field on the way.
        annotation: the type of the value there.
    """

    keys: tuple[int | str, ...]
    field: SpecField | None
    annotation: Any


def find_place(model: type[BaseModel], location: Sequence[int | str]) -> Place:
    """Follow the location of a validation error, up to the names of union branches that pydantic adds to it."""
    place = Place((), None, model)
    for part in location:
        inner = _inside(place.annotation, part)
        if inner is None:
            break
        keys = (*place.keys, part)
        if isinstance(inner, FieldInfo):
            path = (*(place.field.path if place.field else ()), str(part))
            place = Place(keys, SpecField(path, inner), inner.annotation)
        else:
            place = Place(keys, place.field, inner)
    return place


def _inside(annotation: Any, part: int | str) -> Any:
    """Return the field or the type at a key of a type; None if the part is not a key but a branch of a union."""
    for branch in branches(annotation):
        if is_model(branch) and isinstance(part, str):
            return branch.model_fields.get(part, Any)
        origin, arguments = get_origin(branch), get_args(branch)
        if origin is tuple and isinstance(part, int):
            return arguments[0]
        if origin is dict and part != "[key]" and not str(part).startswith("tuple["):
            return arguments[1]
    return None


def section_of(annotation: Any) -> type[BaseModel] | None:
    """Return the model in a type, or in the members of a list or mapping; None if there is none."""
    return next((part for part in _parts(annotation) if is_model(part)), None)


def type_text(annotation: Any) -> str:
    """Return a type in words: `a whole number or a list of 2 whole numbers`."""
    return " or ".join(dict.fromkeys(_branch_text(branch) for branch in branches(annotation)))


def _branch_text(branch: Any) -> str:
    origin, arguments = get_origin(branch), get_args(branch)
    if origin is Literal:
        return f"one of {', '.join(arguments)}"
    if origin is tuple:
        members = branches(arguments[0])[0]
        if get_origin(members) is Literal:
            return f"a list of {', '.join(get_args(members))}"
        count = "" if Ellipsis in arguments else f"{len(arguments)} "
        return f"a list of {count}{_PLURALS.get(members, 'values')}"
    if origin is dict or is_model(branch):
        return "a mapping"
    return _NAMES.get(branch, "a value")


def branches(annotation: Any) -> list[Any]:
    """Return the branches of a union, unwrapped from Annotated, without None."""
    if get_origin(annotation) is Annotated:
        return branches(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [branch for part in get_args(annotation) for branch in branches(part) if branch is not NoneType]
    return [annotation]


def _without_none(annotation: Any) -> Any:
    union = branches(annotation)
    return union[0] if len(union) == 1 else None


def _parts(annotation: Any) -> Iterator[Any]:
    """Yield the branches of a type, and those of its members."""
    for branch in branches(annotation):
        yield branch
        if get_origin(branch) in (tuple, dict):
            for argument in get_args(branch):
                yield from _parts(argument)


def _constraints(annotation: Any) -> Iterator[Any]:
    """Yield what Annotated says within a union, e.g. in `Annotated[float, Field(gt=0)] | None`."""
    if get_origin(annotation) is Annotated:
        for mark in get_args(annotation)[1:]:
            yield from mark.metadata if isinstance(mark, FieldInfo) else (mark,)
    elif get_origin(annotation) in (Union, UnionType):
        for part in get_args(annotation):
            yield from _constraints(part)


def is_model(annotation: Any) -> bool:
    """Return whether a type is a section of bundle.yaml."""
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def plain(value: Any) -> Any:
    """Return a value of a spec in the types of YAML and JSON."""
    if isinstance(value, BaseModel):
        return {}
    if isinstance(value, Mapping):
        return {key: plain(member) for key, member in value.items()}
    return [plain(member) for member in value] if isinstance(value, (tuple, list)) else value
