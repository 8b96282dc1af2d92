"""Exports and converts an architecture, and compares its answers with PyTorch's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bundler.converters import load_converter
from bundler.saved_model.runner import SavedModel
from bundler.saved_model.summarize import summarize
from bundler.validation import parity
from bundler.values.comparison import differences
from bundler.values.exported import ExportedSignature
from bundler.values.input_draws import is_batch
from bundler.values.reference import ReferenceOutputs
from serving.golden.compare import Difference
from tests.bundler.exporting import export_module
from tests.models import RealModel
from tests.zoo.entry import Entry

TOLERANCE = 1e-4
"""The relative tolerance of the project: see serving.golden.compare."""


@dataclass(frozen=True)
class Converted:
    """A converted architecture: its ONNX files, and the engine's model of them."""

    exported: tuple[ExportedSignature, ...]
    model: Any


def convert(entry: Entry, source: RealModel, work: Path) -> Converted:
    """Export the architecture into the folder, and convert it with the native engine."""
    exported = export_module(
        source.module, work, dict(source.inputs), inputs=source.specs, signatures=dict(entry.signatures)
    )
    return Converted(exported, load_converter("native").convert({e.name: e.onnx for e in exported}))


def assert_agrees(entry: Entry, converted: Converted, work: Path, tolerance: float = TOLERANCE) -> None:
    """Assert that every signature answers as PyTorch does, at two or more sizes of every dynamic dim."""
    served = None
    if entry.saved:
        converted.model.save(work / "1")
        served = SavedModel(work / "1")
    for reference in parity.run_references(converted.exported):
        assert not reference.left_out, reference.left_out
        assert_sizes(reference)
        for case in reference.cases:
            name = reference.exported.name
            outputs = {k: v.numpy() for k, v in converted.model.run(name, case.inputs).items()}
            _assert_close(differences(case.outputs, outputs), f"{name} {case.name}", tolerance)
            if served is not None:
                _assert_close(differences(case.outputs, served(name, case.inputs)), f"saved {name} {case.name}", tolerance)


def assert_sizes(reference: ReferenceOutputs) -> None:
    """Assert that the cases have two sizes of each dynamic dim, one of which is the batch."""
    dims = [d for spec in reference.exported.signature.inputs for d in spec.dims if not isinstance(d, int)]
    assert any(is_batch(d) for d in dims)
    for dim in dims:
        assert any(case.name.startswith(f"{dim}-") for case in reference.cases), dim


def _assert_close(found_differences: list[Difference], where: str, tolerance: float) -> None:
    for difference in found_differences:
        assert difference.within(tolerance), f"{where}: {difference.explain()}"


def assert_transposes(entry: Entry, converted: Converted, work: Path) -> None:
    """Assert that serving_default has at most the transposes that the entry allows, and with `nhwc` none in that layout."""
    if entry.transposes is not None:
        count = transposes(converted.model, work / "keep")
        assert count <= entry.transposes, f"{count} transposes"
    if entry.nhwc:
        models = {e.name: e.onnx for e in converted.exported}
        count = transposes(load_converter("native").convert(models, layout="nhwc"), work / "nhwc")
        assert count == 0, f"{count} transposes with layout nhwc"


def transposes(model: Any, folder: Path) -> int:
    """Return the number of transposes in serving_default, as `tfbundle inspect` counts them."""
    model.save(folder)
    return summarize(folder).transposes
