"""Strings that break formats, and the places of bundle.yaml that take a string."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args, get_origin

from hypothesis import strategies as st

from bundler.spec.fields import SpecField, branches, is_model
from bundler.spec.options import spec_fields

STRINGS = (
    "", " ", "a b", "a\nb", "a\r\nb: c", "a\0b", "\x1b[31mred\x1b]0;title\x07", "\x9b31m", "\u202eabc\u2066",
    "\u200b", "\ufeffx", "größe", "名前", "😀", "e\u0301", "\u2028", "'", '"', "`", "'''", '"""', "\\", "\\n", "\\", "$",
    "$HOME", "${x}", "$(id)", "`id`", "; rm -rf /", "| cat", "&& x", "> /tmp/x", "--flag", "-x", "=", "a=b", "#",
    "a # b", ": ", "- x", "{{7*7}}", "{% x %}", "{# x", "${{x}}", "%s%n", "%", "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>", "-->", "]]>", "</style>", "&amp;", "&#60;", "| a | b |",
    "[x](javascript:alert(1))", "*a*", "_a_", "~~a~~", "/", "//", "..", "../x", "/etc/passwd", "a/../b", "C:\\x", "*",
    "?", "~", "!!python/object:os.system", "&a", "*a", "!x", "@x", "%x", "yes", "null", "1e3", "0x1f", "2020-01-01",
    "1_000", ".inf", "<<", "NaN", "true", "a" * 300, "\U000e0041", "\ud800", "name: x\nport: 1",
    "x\"\n}\nmodel_config_list {", "x\" HEALTHCHECK NONE", "tensorflow/serving\nRUN id", "a,b", "a;b", "x[y]", "x(y)",
    "\\(x)", "*/", "//", "???/", "__proto__", "constructor",
)  # fmt: skip
"""For each format: what ends a string, starts another value, is executed, or reads as another type."""

RENDERED = ("yes", "1e3", "$(id)")
"""Those that tests render in the short run, if a field takes them."""

TEXTS = st.one_of(st.sampled_from(STRINGS), st.text(st.characters(codec="utf-8"), max_size=20))


def string_fields() -> list[SpecField]:
    """Return every key of bundle.yaml whose value is a string, or holds strings in a list, a mapping or as its keys."""
    return [field for field in spec_fields() if any(_forms(field.info.annotation))]


def documents(field: SpecField, text: str) -> Iterator[dict[str, Any]]:
    """Yield a bundle.yaml with the text in each place that the field has for a string."""
    for value in _values(field.info.annotation, text):
        yield document(field.path, value)


def document(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    """Return a bundle.yaml with a value at a path, and with what its section requires besides."""
    for key in reversed(path[1:]):
        siblings = {"tokenizer": "vocab.txt"} if {"max_length", "padding"} & set(_siblings(path, key)) else {}
        value = {**siblings, key: value}
        if key == "signatures" and path[1] == "signatures" and len(path) > 2:
            value = {key: {"embed": value[key]}}
    if path[0] == "models":
        return {"models": [{"name": "net", "source": "net.py:make", **(value if len(path) > 1 else {})}]}
    return {path[0]: value}


def _siblings(path: tuple[str, ...], key: str) -> list[str]:
    parent = path[: path.index(key)]
    return [field.name for field in spec_fields() if field.path[:-1] == parent]


def _forms(annotation: Any) -> Iterator[bool]:
    """Yield True for each place in a type that takes any string."""
    for branch in branches(annotation):
        origin, arguments = get_origin(branch), get_args(branch)
        if branch is str:
            yield True
        elif origin is tuple:
            yield from _forms(arguments[0])
        elif origin is dict:
            yield True


def _values(annotation: Any, text: str) -> Iterator[Any]:
    for branch in branches(annotation):
        origin, arguments = get_origin(branch), get_args(branch)
        if branch is str:
            yield text
        elif origin is tuple and any(_forms(arguments[0])):
            yield list(_values(arguments[0], text))
        elif origin is dict:
            yield {text: next(_filled(arguments[1]))}
            yield from ({"x": value} for value in _values(arguments[1], text))


def _filled(annotation: Any) -> Iterator[Any]:
    """Yield a harmless value of a type."""
    for branch in branches(annotation):
        origin = get_origin(branch)
        if branch is str:
            yield "x=float32[2]"
        elif origin is tuple:
            yield []
        else:
            yield {} if origin is dict or is_model(branch) else 1
