"""The files of an advice: figures as comments, flags and batching parameters; nothing if no candidate is better."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from serving.advise.files import serving_section, verdict, write_advice
from serving.advise.forms import Candidate
from serving.advise.settings import Setting
from serving.advise.trials import Trial
from serving.config.batching import BatchingParameters
from tests.serving.advise.advised import BATCHED, FAST, FLOAT32, INT8, advice


def test_files_have_the_figures_and_can_be_read_back(tmp_path: Path) -> None:
    flags, batching = write_advice(advice(2.0), tmp_path / "tuned")
    text = batching.read_text()
    assert BatchingParameters.from_text(text).max_batch_size == 32
    assert "     64  these          200.0      1.00      3.50" in text
    assert "the requests of a" in text and "ids" in text and "Another CPU may be faster" in text
    for part in ("batching: true", "max_batch_size: 32", "max_enqueued_batches: 20", "flags:\n#       tensorflow_intra_op"):
        assert f"#     {part}" in text and f"#     {part}" in flags.read_text()
    lines = [line for line in flags.read_text().splitlines() if not line.startswith("#")]
    assert lines == list(BATCHED.flags(str(batching)))
    assert "2.00 times" in verdict(advice(2.0))
    assert "# *  2.00  1.00  SavedModel float32, intra 1" in text


@pytest.mark.parametrize(("gain", "failed"), [(1.02, 0), (0.7, 0), (3.0, 1)])
def test_nothing_is_written_if_no_candidate_is_better(gain: float, failed: int, tmp_path: Path) -> None:
    result = advice(gain, failed=failed)
    assert result.best is None and not result.to_json()["better"]
    assert write_advice(result, tmp_path / "tuned") == []
    assert not (tmp_path / "tuned").exists()
    expected = "failed when it was measured again" if failed else "Nothing serves 64 clients better than SavedModel float32"
    assert expected in verdict(result)


def test_thread_settings_alone_remove_the_batching_file(tmp_path: Path) -> None:
    (tmp_path / "batching.config").write_text("max_batch_size { value: 2 }")
    (flags,) = write_advice(advice(1.5, Candidate(FLOAT32, Setting(1, 2))), tmp_path)
    assert flags.name == "server.flags"
    assert "#   serving:\n#     clients: many\n#     flags:\n#       tensorflow_intra_op_parallelism: 1\n" in flags.read_text()
    assert not (tmp_path / "batching.config").exists()


def test_the_flags_choose_the_form(tmp_path: Path) -> None:
    (flags,) = write_advice(advice(1.5, Candidate(FAST, Setting(pools=2))), tmp_path)
    lines = [line for line in flags.read_text().splitlines() if not line.startswith("#")]
    assert lines == ["--prefer_tflite_model=true", "--num_tflite_pools=2"]
    mixed = Candidate(replace(FLOAT32, mixed_precision=True), Setting(1))
    assert mixed.flags("x") == ("--mixed_precision=bfloat16", "--tensorflow_intra_op_parallelism=1")
    assert str(mixed) == "SavedModel float32 with --mixed_precision=bfloat16, intra 1"


def test_the_serving_section_has_the_form_and_the_number_of_clients() -> None:
    assert serving_section(Candidate(FAST, Setting(pools=2))) == {"fast_path": True, "flags": {"num_tflite_pools": 2}}
    assert serving_section(Candidate(INT8, Setting())) == {"fast_path": "int8"}
    mixed = replace(FLOAT32, mixed_precision=True)
    assert serving_section(Candidate(mixed, Setting())) == {"mixed_precision": "bfloat16", "clients": "few"}
    padded = Setting(1, batching=BatchingParameters(8, 0, 10, 2, pad_variable_length_inputs=True))
    assert serving_section(Candidate(FLOAT32, padded))["pad_variable_length_inputs"] is True


def test_a_failed_trial_is_listed_with_its_reason(tmp_path: Path) -> None:
    result = advice(2.0)
    failed = Trial(Candidate(INT8, Setting()), failure="below its gate: output y")
    (flags, _) = write_advice(replace(result, trials=(*result.trials, failed)), tmp_path)
    assert "#       failed  model.tflite int8, no flags: below its gate: output y" in flags.read_text()
