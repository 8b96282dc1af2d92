"""TorchScript: its loops, defaults and methods, and inputs that it cannot take."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch

from bundler.errors import ExportError
from bundler.export.script import flat_script
from bundler.export.stage import export
from bundler.sources import load
from bundler.sources.binding import Binding, Slot
from bundler.spec.bundle_spec import ModelSpec
from tests.bundler.exporting import BATCHES, assert_same_answers
from tests.bundler.scripted import Loop


@pytest.mark.compat
@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_loops_defaults_and_methods_are_kept(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(Loop()), tmp_path / "m.pt")
    rows = {"both": {"method": "both"}, "second": {"method": "both", "outputs": ["output_1"]}}
    spec = ModelSpec(name="m", source="m.pt", inputs=("x=float32[batch,3]",), signatures=rows)
    default, both, second = export(load(spec, base=tmp_path), spec, tmp_path)
    assert "Loop" in [node.op_type for node in onnx.load(default.onnx).graph.node]
    assert default.signature.outputs[0].dims[0] == "batch"
    assert both.signature.output_names == ("output_0", "output_1")
    assert second.signature.output_names == ("output_1",)
    for exported in (default, both, second):
        assert assert_same_answers(exported) == BATCHES


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_constant_and_keyword_arguments_are_part_of_the_wrapper() -> None:
    binding = Binding(("x",), (Slot(0),), {"times": 3})
    wrapper = flat_script(torch.jit.script(Loop()), binding, "forward")
    x = -torch.ones(1, 3)  # the loop stops at once
    assert wrapper(x).tolist() == [[-3, -3, -3]]


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_an_input_in_a_list_is_refused() -> None:
    with pytest.raises(ExportError, match="is of type list"):
        flat_script(torch.jit.script(Loop()), Binding(("x",), ([Slot(0)],), {}), "forward")
