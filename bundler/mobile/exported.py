"""What one export of mobile files wrote."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bundler.mobile.metadata import Labels
from bundler.mobile.model import MobileModel


@dataclass(frozen=True)
class Exported:
    """One model in the export: its files by variant and its calls, both relative to the folder."""

    model: MobileModel
    labels: Labels | None
    files: Mapping[str, str]
    calls: tuple[str, ...]
