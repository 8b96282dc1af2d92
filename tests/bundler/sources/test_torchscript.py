"""TorchScript archives are recognised by their content, and need --input for their dims."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from bundler.errors import SourceError
from bundler.values.signature import TensorSpec
from tests.bundler.sources.conftest import Load

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit")


@pytest.fixture
def script(folder: Path) -> Path:
    torch.jit.save(torch.jit.trace(nn.Linear(3, 2), torch.zeros(2, 3)), folder / "m.pt")
    return folder / "m.pt"


def test_archive_is_recognised_by_its_content(load_source: Load, script: Path) -> None:
    loaded = load_source(script.name, inputs=("input=float32[batch,3]",))
    assert isinstance(loaded.module, torch.jit.ScriptModule)
    assert loaded.provenance["class"] == "Linear" and loaded.provenance["parameters"] == 8
    assert loaded.input_specs == (TensorSpec.parse("input=float32[batch,3]"),)


def test_dims_are_required(load_source: Load, script: Path) -> None:
    with pytest.raises(SourceError, match="forward takes: input") as caught:
        load_source(script.name)
    assert caught.value.fix is not None and "--input 'input=float32[batch,3]'" in caught.value.fix


def test_errors_are_one_line(load_source: Load, script: Path) -> None:
    with pytest.raises(SourceError, match=r"mat1 and mat2 shapes cannot be multiplied \(2x5 and 3x2\)"):
        load_source(script.name, inputs=("input=float32[batch,5]",))


@pytest.mark.parametrize("share", [0.4, 0.97])
def test_damage_is_reported(load_source: Load, script: Path, share: float) -> None:
    data = script.read_bytes()
    script.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(SourceError, match="is damaged"):
        load_source(script.name, inputs=("input=float32[batch,3]",))
