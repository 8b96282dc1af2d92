"""Exported programs (.pt2): all outputs, some of them, and requests that a program cannot serve."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bundler.errors import UsageError
from bundler.export.stage import export
from bundler.sources import load
from bundler.spec.bundle_spec import ModelSpec
from tests.bundler.exporting import BATCHES, Answers, assert_same_answers, signature_text


@pytest.fixture
def exported_program(tmp_path: Path) -> Path:
    shapes = {"x": {0: torch.export.Dim("batch")}}
    saved = torch.export.export(Answers("dict").eval(), (torch.ones(2, 3),), dynamic_shapes=shapes)
    torch.export.save(saved, tmp_path / "m.pt2")
    return tmp_path / "m.pt2"


@pytest.mark.parametrize("limit", [pytest.param(None, marks=pytest.mark.compat), 15])
def test_a_program_is_exported_with_all_or_some_outputs(tmp_path: Path, exported_program: Path, limit: int | None) -> None:
    spec = ModelSpec(name="m", source=str(exported_program), signatures={"only": {"outputs": ["a"]}})
    default, only = export(load(spec, base=tmp_path), spec, tmp_path, max_opset=limit)
    assert signature_text(default) == "x=float32[batch,3] -> b=float32[batch] a=float32[batch,3]"
    assert signature_text(only) == "x=float32[batch,3] -> a=float32[batch,3]"
    for exported in (default, only):
        assert assert_same_answers(exported) == BATCHES


def test_another_method_of_a_program_is_refused(tmp_path: Path, exported_program: Path) -> None:
    spec = ModelSpec(name="m", source=str(exported_program), signatures={"s": {"method": "encode"}})
    with pytest.raises(UsageError, match="another method"):
        export(load(spec, base=tmp_path), spec, tmp_path)
