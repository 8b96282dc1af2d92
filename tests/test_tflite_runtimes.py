"""bundler/tflite/runtimes.json comes from answers that runtimes gave; the steps from an answer to the file are tested here."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bundler.saved_model.collect_releases import to_text
from bundler.tflite.contents import TfliteOperator, operators_of
from bundler.tflite.runtimes import DATA, PACKAGES, known_runtimes
from docs import tflite_cases, tflite_probe, tflite_runtimes
from docs.kernel_probes import Probe
from tests.bundler.tflite.single_op import single_op

DIV = TfliteOperator("DIV", ("INT8", "INT8"), ("INT8",), "y", 1, "INT8*>INT8*")
REFUSAL = "Div only supports FLOAT32, got 9.Node number 0 (DIV) failed to invoke."
Y = np.array([1.0, 2.0])


def test_file_has_the_releases_of_the_script() -> None:
    names = [f"{PACKAGES[runtime.family]} {runtime.release}" for runtime in known_runtimes()]
    assert names == list(tflite_runtimes.RELEASES) == list(json.loads(DATA.read_text("utf-8")))


def test_kernel_is_missing_if_its_release_refuses_what_the_newest_runs() -> None:
    lacking = tflite_runtimes.lacking({"a": REFUSAL}, {"a": [Y]}, {"DIV": [1, 1]}, {"a": (DIV,)})
    assert lacking == {"DIV": {"INT8*>INT8*": "Div only supports FLOAT32, got 9"}}
    assert tflite_runtimes.lacking({"a": REFUSAL}, {"a": REFUSAL}, {"DIV": [1, 1]}, {"a": (DIV,)}) == {}
    assert tflite_runtimes.lacking({"a": REFUSAL}, {"a": [Y]}, {"DIV": [1, 0]}, {"a": (DIV,)}) == {}  # the version is too new


def test_kernel_that_another_case_ran_is_not_missing(capsys: pytest.CaptureFixture[str]) -> None:
    answers = {"a": REFUSAL, "b": [Y]}
    assert tflite_runtimes.lacking(answers, {"a": [Y], "b": [Y]}, {"DIV": [1, 1]}, {"a": (DIV,), "b": (DIV,)}) == {}
    assert "a: not clear which kernel is missing" in capsys.readouterr().out


def test_answers_are_the_same_up_to_a_hundredth() -> None:
    assert tflite_runtimes.same([Y], [Y + 0.01]) and not tflite_runtimes.same([Y], [Y + 0.1])
    assert not tflite_runtimes.same([Y], REFUSAL) and not tflite_runtimes.same([Y], [Y[:1]])
    assert tflite_runtimes.same([np.array([np.nan])], [np.array([np.nan])])


def test_lowered_file_has_the_newest_versions_of_a_release(tmp_path: Path) -> None:
    path = tmp_path / "a.tflite"
    path.write_bytes(single_op("EQUAL", 5, "INT16"))
    file = tflite_runtimes.lowered(path, {"EQUAL": [1, 4]})
    assert file is not None and [each.version for each in operators_of(file)] == [4]
    assert tflite_runtimes.lowered(path, {}) is None


def test_later_releases_have_only_their_changes() -> None:
    rows = {name: {"released": "", "ops": {"ADD": [1, 5], "MUL": [1, 1]}, "lacks": {}} for name in tflite_runtimes.RELEASES}
    rows[tflite_runtimes.NEWEST]["ops"] = {"ADD": [1, 6], "MUL": [1, 1]}
    read = tflite_runtimes.compact(rows)
    assert read["ai-edge-litert 1.0.1"]["ops"] == {"ADD": [1, 5], "MUL": [1, 1]}
    assert read["ai-edge-litert 1.1.2"]["ops"] == {} and read[tflite_runtimes.NEWEST]["ops"] == {"ADD": [1, 6]}


def test_file_is_written_as_it_is_read() -> None:
    text = DATA.read_text("utf-8")
    assert to_text(json.loads(text)) == text


def test_probe_asks_the_installed_runtime(tmp_path: Path) -> None:
    """The installed LiteRT accepts the versions that the file has for its release, and runs a case."""
    from ai_edge_litert.interpreter import Interpreter

    for version in (1, 99):
        (tmp_path / f"ADD-{version}.tflite").write_bytes(single_op("ADD", version, "FLOAT32", options="AddOptions"))
    tflite_probe.versions(Interpreter, tmp_path)
    assert json.loads((tmp_path / "ops.json").read_text("utf-8")) == {"ADD": [1]}
    (outputs,) = tflite_probe.answer(Interpreter(model_path=str(tmp_path / "ADD-1.tflite")))
    assert outputs.tolist() == [[2.0, 6.0, 10.0, 4.0]]


def test_case_is_written_once(tmp_path: Path) -> None:
    probe = Probe(lambda _: [np.ones((2, 3))], lambda x: x + x, None)
    tflite_cases._write_case(tmp_path, "Twice.float32", probe, "float32", "float32", set())
    assert [each.name for each in operators_of((tmp_path / "Twice.float32.tflite").read_bytes())] == ["ADD"]
    tflite_cases._write_case(tmp_path, "Other.float32", probe, "float32", "float32", {"Other.float32"})
    assert [path.name for path in tmp_path.iterdir()] == ["Twice.float32.tflite"]
