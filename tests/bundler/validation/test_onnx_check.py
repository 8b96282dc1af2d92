"""ONNX Runtime at fault: PyTorch decides, and the report, bundle.json, verify and the page say why ONNX Runtime did not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

import bundler
from bundler.errors import ParityError
from bundler.graph.onnx_runtime import OnnxModel
from bundler.validation import onnx_check, parity
from bundler.values.comparison import ONNX_RUNTIME, SAVED_MODEL
from tests.bundler.cli.commands import run
from tests.bundler.hand_written import Converted, Exported, exported, slightly_wrong

TOLERANCE = 1e-4


@pytest.fixture
def one(tmp_path: Path) -> Exported:
    return exported(tmp_path / "m.onnx")


class Broken:
    """Stands in for ONNX Runtime: changes what a call answers, with or without graph optimizations.

    Args:
        monkeypatch: the test's.
        wrong: what happens, by whether graph optimizations are on: "stops", "differs", "nan", or nothing.
        batches: the numbers of rows for which it happens; empty: all.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, wrong: dict[bool, str], batches: tuple[int, ...] = ()) -> None:
        class Runtime(OnnxModel):
            def __init__(self, path: Path, *, optimize: bool = True, all_values: bool = False) -> None:
                super().__init__(path, optimize=optimize, all_values=all_values)
                self.kind = wrong.get(optimize, "")

            def __call__(self, inputs: Any) -> dict[str, Any]:
                outputs = super().__call__(inputs)
                if batches and len(inputs["image"]) not in batches:
                    return outputs
                if self.kind == "stops":
                    raise ParityError("ONNX Runtime failed: Attention node 'a': inconsistent mask.")
                change = {"differs": lambda a: a + np.float32(1), "nan": lambda a: a * np.float32("nan")}.get(self.kind)
                return outputs | ({"logits": change(outputs["logits"])} if change else {})

        monkeypatch.setattr(onnx_check, "OnnxModel", Runtime)


def check(one: Exported, folder: Path) -> parity.ParityReport:
    return parity.check(parity.run_references([one]), folder, tolerance=TOLERANCE, engine=parity.Engine(native=False))


def test_pytorch_decides_if_onnx_runtime_stops(one: Exported, saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Broken(monkeypatch, {True: "stops", False: "stops"})
    report = check(one, saved)
    assert report.passed
    assert {row.runtime for row in report.rows} == {SAVED_MODEL}
    note = (
        "serving_default: not compared with ONNX Runtime: ONNX Runtime failed: Attention node 'a': inconsistent mask. "
        "PyTorch alone decided."
    )
    assert report.runtime_notes == (note,)
    record = json.loads(json.dumps(report.to_json()))
    assert record["reference"] == "PyTorch"
    assert record["runtime_notes"] == [note]
    assert note in record["left_out"]


def test_a_draw_that_stops_is_named_and_the_others_are_compared(
    one: Exported, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Broken(monkeypatch, {True: "stops", False: "stops"}, batches=(1, 5))
    report = check(one, saved)
    assert report.passed
    compared = {row.draw for row in report.rows if row.runtime == ONNX_RUNTIME}
    assert compared == {"example", "random", "seq-5"}
    assert all(row.gated for row in report.rows)
    (note,) = report.runtime_notes
    assert note.startswith("serving_default, draws batch-1, batch-5: not compared with ONNX Runtime: ")


@pytest.mark.parametrize("fault", ["stops", "differs", "nan"])
def test_a_wrong_fusion_gets_a_second_chance_without_optimizations(
    one: Exported, saved: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    Broken(monkeypatch, {True: fault})
    report = check(one, saved)
    assert report.passed
    assert {row.gated for row in report.rows if row.runtime == ONNX_RUNTIME} == {True}
    (note,) = report.runtime_notes
    assert note.startswith("serving_default: compared with ONNX Runtime without graph optimizations; with them: ")


@pytest.mark.parametrize("fault", ["differs", "nan"])
def test_a_wrong_answer_of_onnx_runtime_alone_is_reported_and_does_not_count(
    one: Exported, saved: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    Broken(monkeypatch, {True: fault, False: fault})
    report = check(one, saved)
    assert report.passed
    rows = [row for row in report.rows if row.runtime == ONNX_RUNTIME]
    assert rows and not any(row.gated for row in rows)
    (note,) = report.runtime_notes
    assert note.startswith("serving_default: ONNX Runtime disagrees: its answer differs: output 'logits'")
    assert note.endswith("PyTorch decided, and the SavedModel agrees with it.")


@pytest.mark.parametrize("fault", ["stops", "differs"])
def test_a_wrong_saved_model_fails_whatever_onnx_runtime_does(
    one: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    Converted(**slightly_wrong("kernel")).save(tmp_path / "1")
    Broken(monkeypatch, {True: fault, False: fault})
    report = check(one, tmp_path / "1")
    assert not report.passed
    assert SAVED_MODEL in {row.runtime for row in report.failures}
    assert (ONNX_RUNTIME in {row.runtime for row in report.failures}) == (fault == "differs")


def test_a_file_that_onnx_runtime_rejects_is_left_to_pytorch(one: Exported, saved: Path) -> None:
    model = onnx.load(str(one.onnx))
    model.graph.node[1].attribute.append(onnx.helper.make_attribute("unheard_of", 1))
    onnx.save(model, str(one.onnx))
    report = check(one, saved)
    assert report.passed
    (note,) = report.runtime_notes
    assert note.startswith("serving_default: not compared with ONNX Runtime: ONNX Runtime rejects the model: ")
    assert note.endswith("PyTorch alone decided.")


MASKED = '''
import torch
from torch import nn

class Encoder(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x, lengths):
        mask = torch.arange(x.shape[1])[None] >= lengths[:, None]
        if self.kind == "encoder":
            return self.encoder(x, src_key_padding_mask=mask)
        return self.attention(x, x, x, key_padding_mask=mask, need_weights=False)[0]

def make(kind="encoder"):
    torch.manual_seed(0)
    return Encoder(kind).eval(), {"x": torch.randn(2, 5, 8), "lengths": torch.tensor([5, 3])}

def attention():
    return make("attention")
'''


@pytest.fixture(scope="module")
def masked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("masked") / "masked.py"
    path.write_text(MASKED)
    return path


@pytest.mark.slow
def test_a_masked_transformer_encoder_is_built_and_every_place_says_who_decided(masked: Path, tmp_path: Path) -> None:
    """ONNX Runtime's Attention wants the mask to have the query's length in its last axis but one, not one to be broadcast."""
    out = tmp_path / "b"
    built = run("build", f"{masked}:make", "-o", out, "--name", "m")
    assert "not compared with ONNX Runtime: ONNX Runtime failed: Attention node" in built.output
    assert "attention_helper.h" not in built.output
    assert "PyTorch alone decided." in built.output
    (version,) = json.loads((out / "bundle.json").read_text())["models"]["m"]["versions"].values()
    assert version["parity"]["reference"] == "PyTorch"
    assert "PyTorch alone decided." in version["parity"]["runtime_notes"][0]
    verified = run("verify", out)
    assert "gives PyTorch's answers" in verified.output
    assert "note: m version 1, serving_default: not compared with ONNX Runtime: " in " ".join(verified.output.split())
    assert "PyTorch alone decided." in (out / "report.html").read_text()


@pytest.mark.slow
def test_masked_attention_alone_is_built_too(masked: Path, tmp_path: Path) -> None:
    bundle = bundler.build(f"{masked}:attention", out=tmp_path / "b", name="m")
    assert bundle.record("m")["parity"]["passed"]
    assert "PyTorch alone decided." in bundle.notices[0]


def test_a_model_that_onnx_runtime_confirms_has_no_note(tmp_path: Path) -> None:
    bundle = bundler.build(nn.Linear(3, 2).eval(), torch.ones(2, 3), tmp_path / "b", name="m")
    assert bundle.notices == ()
    assert "runtime_notes" not in bundle.record("m")["parity"]
