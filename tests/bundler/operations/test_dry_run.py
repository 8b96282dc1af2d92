"""The dry run as a function; tests/bundler/cli/test_dry_run.py has its output."""

from __future__ import annotations

from pathlib import Path

import pytest

from bundler.errors import UsageError
from bundler.operations.dry_run import dry_run
from bundler.spec.bundle_spec import parse_spec


def ignore(*_: object) -> None:
    """Ignore the progress of a build."""


def test_every_operator_of_an_onnx_file_is_listed_with_its_handler(mlp_onnx: Path) -> None:
    spec = parse_spec({"models": [{"name": "mlp", "source": str(mlp_onnx)}]}, where="the test")
    (result,) = dry_run(spec, base=mlp_onnx.parent, progress=ignore)
    assert (result.model, result.signature, result.converts, result.failures) == ("mlp", "serving_default", True, ())
    assert [(row.name, row.nodes, row.failing) for row in result.operators] == [("Gemm", 2, 0), ("Relu", 1, 0)]
    assert result.to_json()["converts"] is True


def test_a_spec_without_models_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"bundle\.yaml lists no models"):
        dry_run(parse_spec({}, where="the test"), base=tmp_path, progress=ignore)


def test_other_converters_are_rejected(mlp_onnx: Path) -> None:
    models = [{"name": "mlp", "source": str(mlp_onnx), "converter": "onnx-tf"}]
    with pytest.raises(UsageError, match="the model 'mlp' uses onnx-tf") as caught:
        dry_run(parse_spec({"models": models}, where="the test"), base=mlp_onnx.parent, progress=ignore)
    assert caught.value.fix == "omit --converter or --dry-run"
