"""The options of a build: fields of ModelSpec and TfliteSpec, with their names on the command line and in Python."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bundler.spec.bundle_spec import MODEL_PANEL, TFLITE_PANEL, BundleSpec, ModelSpec, TfliteSpec
from bundler.spec.fields import SpecField, walk
from serving.lazy import once

_WHOLE_BUNDLE = "a setting of the whole bundle, not of one model: bundle.yaml only"

NOT_ON_THE_COMMAND_LINE = {
    "models.source": "the argument SOURCE",
    "models.signatures.*": "--signature NAME=METHOD sets the method; the other keys are for bundle.yaml and Python",
    "models.tflite.images": "a mapping: for bundle.yaml and Python",
    "models.tflite.batch": "a part of --dims: batch=8",
    "models.against": "--against sets the version for all models; the bounds are for bundle.yaml and Python",
    "serving": _WHOLE_BUNDLE,
    "kubernetes": _WHOLE_BUNDLE,
    "docker": _WHOLE_BUNDLE,
}
"""Keys of bundle.yaml that `tfbundle build` has no flag for, and why; a section stands for its keys."""

NOT_IN_PYTHON = {
    "models.source": "the first argument of build()",
    "models.signatures.*": "keys of the mappings in the keyword signatures",
    "models.tflite.images.*": "keys of the mapping in the keyword images",
    "models.against.*": "keys of the mapping in the keyword against",
    "serving": _WHOLE_BUNDLE,
    "kubernetes": _WHOLE_BUNDLE,
    "docker": _WHOLE_BUNDLE,
}
"""Keys of bundle.yaml that `bundler.build` has no keyword for, and why; a section stands for its keys."""


def exclusion(field: SpecField, reasons: Mapping[str, str]) -> str:
    """Return why a key, or a section that it is in, is excluded; an empty text if it is not.

    Args:
        field: the key.
        reasons: `NOT_ON_THE_COMMAND_LINE` or `NOT_IN_PYTHON`.
    """
    names = [".".join(field.path[:length]) for length in range(1, len(field.path) + 1)]
    return next((reasons[name] for name in (*names, *(f"{name}.*" for name in names[:-1])) if name in reasons), "")


@dataclass(frozen=True)
class BuildOption:
    """One option of a build.

    Attributes:
        field: the field of bundle.yaml that it sets.
        in_tflite: whether the field belongs to the section tflite.
    """

    field: SpecField
    in_tflite: bool

    @property
    def name(self) -> str:
        """Name of the field."""
        return self.field.name

    @property
    def keyword(self) -> str:
        """Keyword of `bundler.build`; empty if there is none."""
        return "" if exclusion(self.field, NOT_IN_PYTHON) else self.field.option.keyword or self.name

    @property
    def flag(self) -> str:
        """Option of `tfbundle build`; empty if there is none."""
        if exclusion(self.field, NOT_ON_THE_COMMAND_LINE):
            return ""
        return self.field.option.flag or f"--{self.name.replace('_', '-')}"

    @property
    def description(self) -> str:
        """The field's meaning, and the default of the flag and the keyword if bundle.yaml has none."""
        absent = self.field.option.absent
        return f"{self.field.description} Default: {absent}." if absent else self.field.description

    @property
    def panel(self) -> str:
        """Heading in `tfbundle build --help`."""
        return self.field.option.panel or (TFLITE_PANEL if self.in_tflite else MODEL_PANEL)


@once
def build_options() -> tuple[BuildOption, ...]:
    """Return every option of a build, in the order of the models' fields."""
    model = [SpecField(("models", name), info) for name, info in ModelSpec.model_fields.items() if name != "tflite"]
    tflite = [SpecField(("models", "tflite", name), info) for name, info in TfliteSpec.model_fields.items()]
    options = [BuildOption(field, field in tflite) for field in (*model, *tflite)]
    return tuple(option for option in options if option.keyword or option.flag)


@once
def spec_fields() -> tuple[SpecField, ...]:
    """Return every key of bundle.yaml, in order; each section comes before its keys."""
    return tuple(walk(BundleSpec))


def keywords() -> dict[str, BuildOption]:
    """Return the options by keyword of `bundler.build`."""
    return {option.keyword: option for option in build_options() if option.keyword}


def split_options(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Sort options into the fields of ModelSpec and those of TfliteSpec.

    Args:
        options: values by keyword of `bundler.build`, or by name of a field.

    Returns:
        The values by field name: of the model, and of its section tflite. Unknown names count as the model's.
    """
    by_name = {option.name: option for option in build_options()} | keywords()
    model: dict[str, Any] = {}
    tflite: dict[str, Any] = {}
    for key, value in options.items():
        option = by_name.get(key)
        section = tflite if option and option.in_tflite else model
        section[option.name if option else key] = value
    return model, tflite
