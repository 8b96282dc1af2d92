"""One list of options: each key of bundle.yaml is in the help, the template, the JSON Schema, the TypedDict and the docs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bundler.cli.app import app
from bundler.spec.build_options import BuildOptions
from bundler.spec.bundle_spec import BundleSpec
from bundler.spec.fields import SpecField
from bundler.spec.options import (
    NOT_IN_PYTHON,
    NOT_ON_THE_COMMAND_LINE,
    build_options,
    exclusion,
    keywords,
    spec_fields,
    split_options,
)
from bundler.spec.template import Answers, spec_text

DOCS = Path(__file__).parents[3] / "docs" / "options.md"
FIELDS = spec_fields()
OPTIONS = {option.field.path: option for option in build_options()}
NOT_IN_THE_TEMPLATE = {
    "models.signatures.*": "the keys depend on the kind of signature; docs/signatures.md shows each",
    "kubernetes.build_job.pod.*": "the keys are those of kubernetes.pod",
}


def key(field: SpecField) -> str:
    return ".".join(field.path)


def has_options(field: SpecField) -> bool:
    """Whether the field is a section whose keys are options of their own."""
    return field.path in {path[:length] for path in OPTIONS for length in (1, 2)} - set(OPTIONS)


@pytest.fixture(scope="module")
def help_text() -> str:
    return CliRunner().invoke(app, ["build", "--help"], env={"COLUMNS": "300"}).output


def test_every_key_has_a_flag_in_the_help_or_a_reason(help_text: str) -> None:
    flags = set()
    for field in FIELDS:
        option = OPTIONS.get(field.path)
        if option and option.flag:
            flags.add(option.flag)
            row = re.search(rf"^\W*{option.flag}\s.*", help_text, re.MULTILINE)
            assert row, key(field)
            assert option.field.description.replace("  ", " ") in " ".join(row[0].split()), key(field)
        else:
            assert exclusion(field, NOT_ON_THE_COMMAND_LINE) or has_options(field), key(field)
    assert len(flags) == 33
    own = {"--output-dir", "--version", "--adopt", "--against", "--report", "--dry-run", "--json", "--help", "--no-pretrained"}
    own |= {"--jobs", "--cache", "--shard", "--on", "--insecure"}
    assert set(re.findall(r"^\W*(--[\w-]+)", help_text, re.MULTILINE)) | {"--no-pretrained"} == flags | own


def test_every_key_has_a_keyword_of_the_api_or_a_reason() -> None:
    assert set(keywords()) == set(BuildOptions.__annotations__)
    for field in FIELDS:
        option = OPTIONS.get(field.path)
        if not (option and option.keyword):
            assert exclusion(field, NOT_IN_PYTHON) or has_options(field), key(field)


def test_every_key_is_in_the_template_with_its_description() -> None:
    text = spec_text(Answers())
    words = " ".join(re.sub(r"\s*#\s*", " ", text).split())
    for field in FIELDS:
        if exclusion(field, NOT_IN_THE_TEMPLATE):
            continue
        assert re.search(rf"^[ #-]*\b{field.name}:", text, re.MULTILINE), key(field)
        assert field.section or field.description in words, key(field)


def test_every_key_is_in_the_json_schema_with_description_default_choices_and_bounds() -> None:
    schema = BundleSpec.json_schema()
    for field in FIELDS:
        entry = find(schema, field.path)
        assert entry["description"] == field.description, key(field)
        if not field.is_required and not field.section:
            assert entry["default"] == field.default, key(field)
        for choice in field.choices:
            assert choice in str(entry), key(field)
        for limit in field.limits.values():
            assert str(limit) in str(entry), key(field)


def find(schema: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    """The entry of a key in the JSON Schema."""
    section = schema
    for name in path[:-1]:
        reference = re.search(r"#/\$defs/(\w+)", str(section["properties"][name]))
        assert reference, path
        section = schema["$defs"][reference[1]]
    entry: dict[str, Any] = section["properties"][path[-1]]
    return entry


def test_every_key_is_in_the_docs_with_its_description() -> None:
    text = DOCS.read_text("utf-8")
    for field in FIELDS:
        if len(field.path) == 1:
            assert f"`{field.name}`" in text
            continue
        described = field.description.replace("<", r"\<")
        row = re.search(rf"^\| `{field.name}` \|.*{re.escape(described)}.*", text, re.MULTILINE)
        assert row, key(field)
        option = OPTIONS.get(field.path)
        if option:
            assert f"| `{option.flag}` |" in row[0] or not option.flag
            assert f"| `{option.keyword}` |" in row[0] or not option.keyword


def test_exclusions_name_existing_keys() -> None:
    keys = {key(field) for field in FIELDS}
    assert {name.removesuffix(".*") for name in (*NOT_ON_THE_COMMAND_LINE, *NOT_IN_PYTHON)} <= keys
    by_key = {key(field): field for field in FIELDS}
    reason = exclusion(by_key["models.signatures.text.max_length"], NOT_ON_THE_COMMAND_LINE)
    assert reason.startswith("--signature NAME=METHOD")
    assert exclusion(by_key["models.signatures"], NOT_ON_THE_COMMAND_LINE) == ""
    assert "whole bundle" in exclusion(by_key["serving.rest_port"], NOT_IN_PYTHON)


def test_options_are_sorted_into_the_model_and_its_tflite_section() -> None:
    model, tflite = split_options({"layout": "nhwc", "tflite": ["int8"], "gate": "m:f", "batch": 2, "nonsense": 1})
    assert model == {"layout": "nhwc", "nonsense": 1}
    assert tflite == {"variants": ["int8"], "evaluate": "m:f", "batch": 2}
