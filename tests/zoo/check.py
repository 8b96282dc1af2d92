"""One architecture through export, engine and comparison with PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bundler.converters import load_converter
from bundler.saved_model.runner import SavedModel
from bundler.saved_model.summarize import summarize
from bundler.validation import parity
from bundler.values.exported import ExportedSignature
from bundler.values.input_draws import is_batch
from serving.golden.compare import Difference
from tests.bundler.exporting import export_module
from tests.models import RealModel
from tests.zoo.entry import Entry

TOLERANCE = 1e-4
"""The project's own, relative: see serving.golden.compare."""


@dataclass(frozen=True)
class Converted:
    """An architecture on its way: the ONNX files, and the engine's model of them."""

    exported: tuple[ExportedSignature, ...]
    model: Any


def convert(entry: Entry, made: RealModel, work: Path) -> Converted:
    """The architecture exported into the folder and converted by the native engine."""
    exported = export_module(
        made.module, work, dict(made.inputs), inputs=made.specs, signatures=dict(entry.signatures)
    )
    return Converted(exported, load_converter("native").convert({e.name: e.onnx for e in exported}))


def assert_agrees(entry: Entry, converted: Converted, work: Path) -> None:
    """Every signature answers what PyTorch answers: two and more batch sizes, and two lengths where a dim is one."""
    served = None
    if entry.saved:
        converted.model.save(work / "1")
        served = SavedModel(work / "1")
    for reference in parity.run_references(converted.exported):
        assert not reference.left_out, reference.left_out
        _assert_sizes(reference)
        for case in reference.cases:
            name = reference.exported.name
            got = {k: v.numpy() for k, v in converted.model.run(name, case.inputs).items()}
            _assert_close(parity.differences(case.outputs, got), f"{name} {case.name}")
            if served is not None:
                _assert_close(parity.differences(case.outputs, served(name, case.inputs)), f"saved {name} {case.name}")


def _assert_sizes(reference: parity.Reference) -> None:
    """The draws show two sizes of each dynamic dim, the batch among them."""
    dims = [d for spec in reference.exported.signature.inputs for d in spec.dims if not isinstance(d, int)]
    assert any(is_batch(d) for d in dims)
    for dim in dims:
        assert any(case.name.startswith(f"{dim}-") for case in reference.cases), dim


def _assert_close(found: list[Difference], where: str) -> None:
    for difference in found:
        assert difference.within(TOLERANCE), f"{where}: {difference.explain()}"


def assert_transposes(entry: Entry, converted: Converted, work: Path) -> None:
    """serving_default moves data between orders of axes no more often than the entry says; with nhwc, where said, never."""
    if entry.transposes is not None:
        count = transposes(converted.model, work / "keep")
        assert count <= entry.transposes, f"{count} transposes"
    if entry.nhwc:
        models = {e.name: e.onnx for e in converted.exported}
        count = transposes(load_converter("native").convert(models, layout="nhwc"), work / "nhwc")
        assert count == 0, f"{count} transposes with layout nhwc"


def transposes(model: Any, folder: Path) -> int:
    """How often serving_default of a model moves data from one order of axes to another, as `tfbundle inspect` counts it."""
    model.save(folder)
    return summarize(folder).transposes
