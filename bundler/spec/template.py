"""The commented bundle.yaml that `tfbundle init` writes, and the JSON Schema that editors check it with.

The template has every key of the models in bundle_spec.py, with its description. A key that users often change is set;
the others are commented out and show their default, or an example if the default is empty.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bundler.errors import PublishError, UsageError
from serving.texts import json_text, shell_command

if TYPE_CHECKING:
    from bundler.spec.fields import SpecField

SCHEMA_FILE = "bundle.schema.json"

_HEAD = """\
# yaml-language-server: $schema=./{schema}
#
# Built by `tfbundle build {file}`. A model needs a name and a source; every other key is optional. A key that is
# commented out shows its default, or an example if there is no default. Unknown keys are errors.
"""
_GROUPS = {
    "models": "",
    "models.inputs": "Inputs, outputs and signatures",
    "models.ops": "Conversion",
    "models.tflite": "",
    "models.fast_path": "",
    "serving": "",
    "kubernetes": "",
    "docker": "",
}
"""Keys that a blank line comes before, with the heading of the group that they begin."""
_SET = frozenset({
    "models.name", "models.source", "models.tolerance", "models.tflite.variants", "serving.grpc_port", "serving.rest_port",
    "serving.batching", "serving.monitoring", "kubernetes.replicas", "kubernetes.max_replicas", "kubernetes.cpu",
    "docker.image", "docker.tag",
})  # fmt: skip
"""Keys that are not commented out."""
_NOT_SPELLED_OUT = ("models.signatures", "kubernetes.build_job.pod")
"""Sections without their keys: a signature's depend on its kind (docs/signatures.md), a pod's are those of kubernetes.pod."""
_COMMENTED_OUT = (
    ("models", "tflite", "images"), ("models", "against"), ("kubernetes", "pod"), ("kubernetes", "autoscaling"),
    ("kubernetes", "service_monitor"), ("kubernetes", "alerts"), ("kubernetes", "dashboard"), ("kubernetes", "claim"),
    ("kubernetes", "build_job"),
)  # fmt: skip
"""Sections that are commented out as a whole."""
_WIDTH = 120
_COMMENT = 44  # column of the descriptions


@dataclass(frozen=True)
class Answers:
    """The answers to the questions of `tfbundle init`."""

    name: str = "model"
    source: str = "model.py:make_model"
    inputs: tuple[str, ...] = ()
    variants: tuple[str, ...] = ()
    calibration: str | None = None

    def by_key(self) -> dict[str, Any]:
        """Return the answers that were given, by key of bundle.yaml."""
        answers = {
            "models.name": self.name,
            "models.source": self.source,
            "models.inputs": list(self.inputs),
            "models.tflite.variants": list(self.variants),
            "models.tflite.calibration": self.calibration,
        }
        return {key: answer for key, answer in answers.items() if answer}


def spec_text(answers: Answers, file: str = "bundle.yaml") -> str:
    """Return the text of a bundle.yaml.

    Raises:
        SpecError: if an answer is not valid.
    """
    from ruamel.yaml import YAML

    from bundler.spec.bundle_spec import parse_spec

    lines = [*_HEAD.format(schema=SCHEMA_FILE, file=shell_command(file)).splitlines(), *_lines(answers.by_key())]
    text = "\n".join(lines) + "\n"
    parse_spec(YAML(typ="safe").load(text), where="the answers given")
    return text


def _lines(answers: dict[str, Any]) -> Iterator[str]:
    from bundler.spec.options import spec_fields

    for field in spec_fields():
        key = ".".join(field.path)
        if key.startswith(_NOT_SPELLED_OUT) and key not in _NOT_SPELLED_OUT:
            continue
        if key in _GROUPS:
            yield from _group(_GROUPS[key])
        if field.section and key not in _NOT_SPELLED_OUT:
            yield f"{_margin(field, is_set=True)}{field.name}:"
        else:
            value = answers[key] if key in answers else _shown(field)
            yield from _line(field, _yaml(value), is_set=key in _SET or key in answers)


def _group(title: str) -> Iterator[str]:
    yield ""
    if title:
        yield f"    # -- {title} --"


def _margin(field: SpecField, *, is_set: bool) -> str:
    """Return what comes before a key: the indentation, and '# ' if the key or its section is commented out."""
    depth = len(field.path) - 1
    indent = 2 * depth + (2 if field.path[0] == "models" and depth else 0)
    for section in _COMMENTED_OUT:
        if field.path[: len(section)] == section:
            outer = indent - 2 * (len(field.path) - len(section))
            return f"{' ' * outer}# {' ' * (indent - outer)}"
    if field.path == ("models", "name"):
        return f"{' ' * (indent - 2)}- "
    return " " * indent + ("" if is_set else "# ")


def _line(field: SpecField, value: str, *, is_set: bool) -> Iterator[str]:
    """Yield a key with its description in a column to the right."""
    line = f"{_margin(field, is_set=is_set)}{field.name}: {value}"
    column = f"{' ' * _COMMENT} # "
    if len(line) > _COMMENT:
        yield line
        line = ""
    wrapped = textwrap.wrap(field.description + field.rule, _WIDTH - len(column), break_on_hyphens=False)
    yield f"{line:<{_COMMENT}} # {wrapped[0]}"
    yield from (column + text for text in wrapped[1:])


def _shown(field: SpecField) -> Any:
    has_default = field.default not in (None, [], {})
    return field.default if has_default or field.name == "variants" else next(iter(field.examples), None)


def _yaml(value: Any) -> str:
    """Return a value in YAML's flow style, with quotes only where they are needed."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_yaml(member)}" for key, member in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_yaml, value)) + "]"
    is_plain = isinstance(value, str) and re.fullmatch(r"[A-Za-z/][\w./:-]*\w", value) and value.lower() not in _YAML_WORDS
    return str(value) if is_plain else json_text(value)


_YAML_WORDS = frozenset({"true", "false", "null", "yes", "no", "on", "off"})


def write_spec(path: Path, answers: Answers, *, force: bool = False) -> list[Path]:
    """Write a bundle.yaml and the schema beside it.

    Args:
        path: the file to write.
        answers: the answers to the questions of `tfbundle init`.
        force: overwrite an existing file.

    Returns:
        The paths of both files.

    Raises:
        UsageError: if the file exists.
        SpecError: if an answer is not valid.
        PublishError: if the folder cannot be written.
    """
    from bundler.spec.bundle_spec import BundleSpec

    text = spec_text(answers, path.name)
    if path.exists() and not force:
        raise UsageError(
            f"{path} already exists.", fix="choose another name with -o, or overwrite it with --force", code="TFB1004"
        )
    schema = path.with_name(SCHEMA_FILE)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        schema.write_text(json.dumps(BundleSpec.json_schema(), indent=2) + "\n", "utf-8")
    except OSError as exc:
        raise PublishError(
            f"{path} cannot be written: {exc.strerror}.", fix="choose another folder with -o", code="TFB5001"
        ) from exc
    return [path, schema]
