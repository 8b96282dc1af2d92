"""Failed exports: the cause, the user's line, a remedy, torch's report, and nothing on the terminal."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from bundler.errors import ExportError
from bundler.export.failure import unsupported_operators
from tests.bundler.exporting import export_module


class Branch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 0:
            return x
        return -x


class Unsupported(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        values = torch.linalg.svd(x)[1]
        return torch.special.bessel_j0(x) + values.sum()


class FixedLength(nn.Module):
    """Calls torch's function of a recurrent layer, which fixes the length, and not the layer."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.RNN(3, 4, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        first = torch.zeros(1, x.shape[0], 4)
        return torch.rnn_tanh(x, first, list(self.cell.parameters()), True, 1, 0.0, False, False, True)[0]


class Positions(nn.Module):
    """Adds an embedding of 16 positions."""

    def __init__(self) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.zeros(16))

    def forward(self, x: Tensor) -> Tensor:
        return (x * 2) + self.positions


class OneLength(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] != 16:
            raise ValueError("16 is the only length")
        return x * 2


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


def failure(module: nn.Module, work: Path, spec: str) -> tuple[ExportError, Path]:
    """Return the error, and the report that it names."""
    with pytest.raises(ExportError) as caught:
        export_module(module, work, inputs=(spec,))
    assert caught.value.fix is not None
    report = Path(caught.value.fix.rpartition("torch's report is in ")[2])
    assert report.parent == work.parent and report.is_file()
    return caught.value, report


def test_a_branch_on_values_is_explained_with_the_users_line(work: Path, capfd: pytest.CaptureFixture[str]) -> None:
    error, report = failure(Branch(), work, "x=float32[2,3]")
    assert error.what == (
        "torch cannot export Branch to ONNX: a branch or the size of a tensor depends on values, which a graph cannot express."
    )
    assert error.where is not None and error.where.startswith(__file__) and "if x.sum() > 0:" in error.where
    assert error.fix is not None and "torch.cond" in error.fix
    assert "GuardOnDataDependentSymNode" in report.read_text()
    assert capfd.readouterr() == ("", "")


def test_all_unsupported_operators_are_named_with_their_lines(
    work: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    error, report = failure(Unsupported(), work, "x=float32[2,3]")
    assert f"aten._linalg_svd at {__file__}:" in error.what and "torch.linalg.svd(x)[1]" in error.what
    assert f"prims.bessel_j0 at {__file__}:" in error.what and "torch.special.bessel_j0(x)" in error.what
    assert "No ONNX function found" in report.read_text()
    assert capfd.readouterr() == ("", "")


def test_a_dim_that_torch_fixes_is_named(work: Path) -> None:
    error, _ = failure(FixedLength(), work, "x=float32[batch,seq,3]")
    assert "axis 1 of 'x' as the constant 16" in error.what
    assert error.fix is not None and "--input" in error.fix


def test_success_leaves_no_report_and_prints_nothing(work: Path, capfd: pytest.CaptureFixture[str]) -> None:
    export_module(nn.ReLU(), work, inputs=("input=float32[batch,3]",))
    assert [p.name for p in work.parent.iterdir()] == ["work"]
    assert capfd.readouterr() == ("", "")


def test_a_report_without_operators_lists_none() -> None:
    assert unsupported_operators("# PyTorch ONNX Conversion Report\n\n- `x`: something else\n") == []


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    ("module", "line"), [(Positions(), "return (x * 2) + self.positions"), (OneLength(), "if x.shape[1] != 16:")]
)
def test_a_dim_that_torch_fixes_is_explained_with_the_line_that_fixes_it(module: nn.Module, line: str, work: Path) -> None:
    error, _ = failure(module, work, "x=float32[batch,length]")
    assert "axis 1 of 'x' as the constant 16" in error.what
    assert error.where is not None and error.where.startswith(f"{__file__}:") and error.where.endswith(f": {line}")
