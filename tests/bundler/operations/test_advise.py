"""`tfbundle bench --advise --update-spec`: the best setting goes into a bundle.yaml, which stays the user's file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bundler.cli.app import app
from bundler.errors import PublishError, SpecError
from bundler.operations.advise import check_spec_file, contradictions, update_spec
from bundler.spec.bundle_spec import read_spec
from serving.advise.forms import Candidate
from serving.advise.settings import Setting
from tests.serving.advise.advised import BATCHED, FAST, FLOAT32, advice

SPEC = """\
# Served by team A.
models:
- {name: m, source: 'm.py:make'}

serving:
  batching: false        # see runbook
  flags:
    grpc_max_threads: 5
    tensorflow_session_parallelism: 3  # ours

docker: {tag: "2.19.1"}
"""


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    file = tmp_path / "bundle.yaml"
    file.write_text(SPEC)
    return file


def test_the_setting_joins_the_users_own_keys_and_comments(spec: Path) -> None:
    spec.chmod(0o640)
    assert update_spec(spec, BATCHED)
    serving = read_spec(spec).serving
    batching = (serving.batching, serving.max_batch_size, serving.batch_timeout_micros, serving.num_batch_threads)
    assert batching == (True, 32, 0, 2) and serving.max_enqueued_batches == 20
    assert serving.flags == {
        "grpc_max_threads": 64, "tensorflow_session_parallelism": 3,
        "tensorflow_intra_op_parallelism": 1, "tensorflow_inter_op_parallelism": 1,
    }  # fmt: skip
    kept = [line for line in SPEC.splitlines() if "batching" not in line and "grpc" not in line]
    assert [line for line in spec.read_text().splitlines() if line in kept] == kept
    assert "  batching: true         # see runbook" in spec.read_text()
    assert spec.stat().st_mode & 0o777 == 0o640
    assert not update_spec(spec, BATCHED), "the file has the setting already"


def test_flags_of_earlier_advice_are_removed_and_batching_is_switched_off(spec: Path) -> None:
    update_spec(spec, BATCHED)
    assert update_spec(spec, Candidate(FLOAT32, Setting(intra=1, inter=2)))
    serving = read_spec(spec).serving
    assert not serving.batching and serving.max_batch_size == 32
    assert serving.flags == {
        "tensorflow_session_parallelism": 3, "tensorflow_intra_op_parallelism": 1, "tensorflow_inter_op_parallelism": 2
    }  # fmt: skip


def test_the_form_is_written_and_that_of_earlier_advice_is_removed(spec: Path) -> None:
    mixed = Candidate(replace(FLOAT32, mixed_precision=True), Setting())
    assert update_spec(spec, mixed)
    assert (read_spec(spec).serving.mixed_precision, read_spec(spec).serving.clients) == ("bfloat16", "few")
    assert update_spec(spec, Candidate(FAST, Setting(pools=2)))
    serving = read_spec(spec).serving
    assert serving.fast_path and serving.mixed_precision is None and serving.flags["num_tflite_pools"] == 2
    assert update_spec(spec, Candidate(FLOAT32, Setting(1)))
    serving = read_spec(spec).serving
    assert not serving.fast_path and serving.clients == "many" and "num_tflite_pools" not in serving.flags


def test_keys_of_the_model_that_win_are_named(spec: Path) -> None:
    text = SPEC.replace("'m.py:make'", "'m.py:make', fast_path: false, precision: bfloat16")
    spec.write_text(text)
    (one,) = contradictions(spec, Candidate(FAST, Setting()), "m")
    assert "m has fast_path: false, which wins" in one
    (other,) = contradictions(spec, Candidate(FLOAT32, Setting()), "m")
    assert "m has precision: bfloat16; set precision: float32" in other
    assert contradictions(spec, Candidate(FAST, Setting()), "another") == []


def test_a_setting_that_contradicts_the_file_leaves_it_unchanged(spec: Path) -> None:
    text = SPEC.replace("flags:", "allowed_batch_sizes: [1, 64]\n  max_batch_size: 64\n  flags:")
    spec.write_text(text)
    with pytest.raises(SpecError, match="must increase and end with max_batch_size 32") as caught:
        update_spec(spec, BATCHED)
    assert "so it is unchanged" in caught.value.what and "copy the setting" in str(caught.value.fix)
    assert spec.read_text() == text and list(spec.parent.iterdir()) == [spec]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n", "must be a mapping"),
        ("serving: {max_batch: 3}\n", "unknown key 'max_batch'"),
        ("serving:\n  flags: {enable_batching: true}\n", "--enable_batching is written by tfbundle; set serving"),
        ("serving: [\n", "is not valid YAML"),
    ],
)
def test_a_file_that_is_no_valid_bundle_yaml_is_refused(text: str, message: str, spec: Path) -> None:
    spec.write_text(text)
    for attempt in (check_spec_file, lambda path: update_spec(path, BATCHED)):
        with pytest.raises(SpecError, match=message):
            attempt(spec)
    assert spec.read_text() == text


def test_a_read_only_file_is_refused(spec: Path) -> None:
    spec.chmod(0o444)
    with pytest.raises(PublishError, match=r"bundle.yaml is read-only"):
        check_spec_file(spec)


def test_a_file_that_cannot_be_replaced_is_unchanged(spec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("bundler.operations.advise.os.fsync", full)
    with pytest.raises(PublishError, match="cannot be written: No space left on device"):
        update_spec(spec, BATCHED)
    assert spec.read_text() == SPEC and list(spec.parent.iterdir()) == [spec]


def test_a_symbolic_link_stays_and_its_file_changes(spec: Path, tmp_path: Path) -> None:
    link = tmp_path / "link" / "bundle.yaml"
    link.parent.mkdir()
    link.symlink_to(spec)
    check_spec_file(link)
    assert update_spec(link, BATCHED)
    assert link.is_symlink() and not spec.is_symlink() and read_spec(spec).serving.batching
    assert list(link.parent.iterdir()) == [link]


def _bench(bundle: Path, tuned: Path, *arguments: str) -> tuple[int, str]:
    command = ["bench", "--bundle", str(bundle), "--advise", str(tuned), *arguments]
    result = CliRunner().invoke(app, command)
    return result.exit_code, result.output


def test_the_command_writes_the_setting_and_names_the_next_one(
    small_bundle: Path, spec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.advise.search.advise", lambda *_, **__: advice(2.0))
    code, output = _bench(small_bundle, tmp_path / "tuned", "--update-spec", str(spec))
    assert code == 0, output
    assert f"Wrote {spec}\nNext: tfbundle render dist/m --spec {spec}" in output
    assert "      grpc_max_threads: 64" in (tmp_path / "tuned" / "server.flags").read_text()
    assert read_spec(spec).serving.flags["grpc_max_threads"] == 64
    code, output = _bench(small_bundle, tmp_path / "tuned", "--update-spec", str(spec))
    assert (code, output.splitlines()[-1]) == (0, f"{spec} is unchanged: it has this setting already.")


def test_the_command_leaves_the_file_if_no_setting_is_better(
    small_bundle: Path, spec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.advise.search.advise", lambda *_, **__: advice(1.0))
    code, output = _bench(small_bundle, tmp_path / "tuned", "--update-spec", str(spec))
    assert code == 0 and output.endswith(f"Nothing was written.\n{spec} is unchanged.\n")
    assert spec.read_text() == SPEC


def test_the_command_checks_the_file_before_the_search(small_bundle: Path, tmp_path: Path) -> None:
    code, output = _bench(small_bundle, tmp_path / "tuned", "--update-spec", str(tmp_path / "none.yaml"))
    assert code == 2 and "none.yaml does not exist" in output
    result = CliRunner().invoke(app, ["bench", "h:1", "--bundle", str(small_bundle), "--update-spec", "bundle.yaml"])
    assert result.exit_code == 2 and "--update-spec needs --advise" in result.output
