"""The options of a build: fields of ModelSpec and TfliteSpec, with their names on the command line and in Python."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from bundler.spec.bundle_spec import MODEL_PANEL, TFLITE_PANEL, BundleSpec, ModelSpec, TfliteSpec
from bundler.spec.fields import SpecField, walk

NOT_ON_THE_COMMAND_LINE = {
    "models": "a list of models; their keys have flags",
    "models.source": "the argument SOURCE",
    "models.tflite": "a section; its keys have flags",
    "models.tflite.images": "a mapping; give it in bundle.yaml or in Python",
    "models.tflite.batch": "given in --dims, as batch=8",
    "serving": "settings of the whole bundle, not of one model; give them in bundle.yaml",
    "kubernetes": "settings of the whole bundle, not of one model; give them in bundle.yaml",
    "docker": "settings of the whole bundle, not of one model; give them in bundle.yaml",
}
"""Keys of bundle.yaml that `tfbundle build` has no flag for, and why."""

NOT_IN_PYTHON = {
    "models": "a list of models; their keys have keywords",
    "models.source": "the first argument of build()",
    "models.tflite": "a section; its keys have keywords",
    "serving": NOT_ON_THE_COMMAND_LINE["serving"],
    "kubernetes": NOT_ON_THE_COMMAND_LINE["kubernetes"],
    "docker": NOT_ON_THE_COMMAND_LINE["docker"],
}
"""Keys of bundle.yaml that `bundler.build` has no keyword for, and why."""


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
        return "" if self._key in NOT_IN_PYTHON else self.field.option.keyword or self.name

    @property
    def flag(self) -> str:
        """Option of `tfbundle build`; empty if there is none."""
        if self._key in NOT_ON_THE_COMMAND_LINE:
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

    @property
    def _key(self) -> str:
        return ".".join(self.field.path)


@lru_cache(maxsize=1)
def build_options() -> tuple[BuildOption, ...]:
    """Return every option of a build, in the order of the models' fields."""
    model = [BuildOption(SpecField(("models", name), info), False) for name, info in ModelSpec.model_fields.items()]
    tflite = [
        BuildOption(SpecField(("models", "tflite", name), info), True) for name, info in TfliteSpec.model_fields.items()
    ]
    return tuple(option for option in (*model, *tflite) if option.keyword or option.flag)


@lru_cache(maxsize=1)
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
