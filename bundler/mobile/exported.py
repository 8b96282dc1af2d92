"""The record of an exported model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from bundler.mobile.metadata import Labels
from bundler.mobile.model import MobileModel


@dataclass(frozen=True)
class ExportedModel:
    """One model of an export.

    Attributes:
        model: the model.
        labels: labels of one of its outputs, if given.
        files: paths of the .tflite files relative to the export's folder, by variant.
        tasks: why each task of MediaPipe cannot read a file, by variant; an empty string if it can.
        calls: paths of the code that calls the model, relative to the folder.
    """

    model: MobileModel
    labels: Labels | None
    files: Mapping[str, str]
    calls: tuple[str, ...]
    tasks: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
