"""The smoke test against a server in another process: what passes, what fails, and the messages."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.errors import GoldenError, TargetError
from serving.golden.data import Golden
from serving.launch.server_process import ServerEndpoints
from serving.protocol.tensors import to_proto
from serving.smoke.replay import replay
from serving.smoke.run import Check, GoldenFile, SmokeReport, golden_files, run
from serving.smoke.standalone import main
from tests.serving import golden_data
from tests.serving.request_logs import predict, write_log
from tests.serving.servers import small_server


@pytest.fixture(scope="module")
def endpoints() -> Iterator[ServerEndpoints]:
    with small_server() as endpoints:
        yield endpoints


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    golden_data.save(tmp_path, golden_data.affine(1), 1)
    golden_data.save(tmp_path, golden_data.affine(2), 2)
    golden_data.save(tmp_path, golden_data.echo(), 7)
    return tmp_path


def by_name(report: SmokeReport) -> dict[tuple[str, str, int, str], Check]:
    return {(check.over, check.model, check.version, check.what): check for check in report.checks}


def test_a_correct_server_passes_every_check(endpoints: ServerEndpoints, folder: Path) -> None:
    seen: list[Check] = []
    files = golden_files(folder)
    report = run(endpoints.grpc_target, files, rest=f"127.0.0.1:{endpoints.rest_port}", timeout=20, progress=seen.append)
    assert report.passed, report.failures
    assert tuple(seen) == report.checks
    checks = by_name(report)
    assert len(checks) == len(report.checks)
    for over in ("gRPC", "REST"):
        for version in (1, 2):
            assert checks[over, "affine", version, "status"].outcome == "passed"
            assert checks[over, "affine", version, "metadata serving_default"].outcome == "passed"
    for batch in (1, 4):
        answer = checks["gRPC", "affine", 2, f"predict serving_default batch-{batch}"]
        assert answer.outcome == "passed"
        assert answer.max_rel is not None
        assert answer.max_rel < 1e-5
        assert ("REST", "affine", 2, f"predict serving_default batch-{batch} (columns)") in checks
    assert ("REST", "affine", 2, "predict serving_default batch-1 (rows)") in checks
    assert ("REST", "affine", 2, "predict serving_default batch-4 (rows)") not in checks
    for dtype in golden_data.ECHOED:
        assert checks["gRPC", "echo", 7, f"predict echo_{dtype} one"].outcome == "passed"


def test_dtypes_that_rest_cannot_carry_are_reported_as_skipped(endpoints: ServerEndpoints, folder: Path) -> None:
    report = run(endpoints.rest_target, golden_files(folder), timeout=20)
    assert report.passed, report.failures
    skipped = {check.what: check.message for check in report.skipped}
    assert set(skipped) == {f"predict echo_{d} one" for d in ("float16", "bfloat16", "complex64")}
    assert "REST cannot carry input 'x' (bfloat16), output 'y' (bfloat16)" in skipped["predict echo_bfloat16 one"]
    assert "3 skipped" in report.verdict()
    assert by_name(report)["REST", "echo", 7, "predict echo_string one (rows)"].outcome == "passed"


def test_skipped_checks_alone_do_not_pass() -> None:
    check = Check("REST", "m", 1, "predict", "skipped", "why")
    assert not SmokeReport(("http://h:1",), (check,), 0.0).passed
    assert not SmokeReport(("http://h:1",), (), 0.0).passed


def test_a_changed_weight_fails_naming_output_index_expected_and_got(folder: Path) -> None:
    with small_server("--weight", "1.001") as endpoints:
        report = run(endpoints.grpc_target, golden_files(folder), rest=endpoints.rest_target, timeout=20)
    assert not report.passed
    failed = {(c.over, c.what): c for c in report.failures if (c.model, c.version) == ("affine", 2)}
    assert set(failed) == {
        ("gRPC", "predict serving_default batch-1"),
        ("gRPC", "predict serving_default batch-4"),
        ("REST", "predict serving_default batch-1 (columns)"),
        ("REST", "predict serving_default batch-1 (rows)"),
        ("REST", "predict serving_default batch-4 (columns)"),
    }
    message = failed["gRPC", "predict serving_default batch-1"].message
    found = re.match(
        r"output 'y' at \[0, \d\]: expected (\S+), got (\S+) \(relative error .*; output 'total' at", message
    )
    assert found, message
    assert float(found[2]) - float(found[1]) == pytest.approx(0.001, rel=1e-2)
    assert {c.model for c in report.failures} == {"affine"}


def test_other_names_dtypes_and_dims_fail_in_the_metadata(folder: Path) -> None:
    with small_server("--swapped-metadata") as endpoints:
        report = run(endpoints.grpc_target, golden_files(folder), timeout=20)
    [message] = [check.message for check in report.failures if check.version == 1]
    assert message == "output 'y': expected dtype float32, got float64"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda case: replace(case, outputs={"y": case.outputs["y"][:, :2], "total": case.outputs["total"]}),
            r"output 'y': expected dims that take \[1, 2\], got float32\[\?,3\]",
        ),
        (
            lambda case: replace(case, outputs={"z": case.outputs["y"], "total": case.outputs["total"]}),
            "output 'y' is served, but was not expected; output 'z' is missing; served outputs: total, y",
        ),
        (lambda case: replace(case, signature="other"), "the signature is not served; served signatures: serving_default"),
    ],
)
def test_golden_data_of_another_model_fails(endpoints: ServerEndpoints, tmp_path: Path, change, message: str) -> None:  # type: ignore[no-untyped-def]
    golden = golden_data.affine(1)
    golden = replace(golden, cases=tuple(map(change, golden.cases[:1])))
    file = golden_data.save(tmp_path, golden, 1)
    report = run(endpoints.grpc_target, [file], timeout=20)
    assert any(re.search(message, c.message) for c in report.failures if c.what.startswith("metadata"))


def test_a_version_that_is_not_served_fails_and_the_served_ones_are_listed(endpoints: ServerEndpoints, tmp_path: Path) -> None:
    file = golden_data.save(tmp_path, golden_data.affine(9), 9)
    report = run(endpoints.grpc_target, [file], timeout=0.3)
    [check] = report.checks
    assert check.outcome == "failed"
    assert "version 9" in check.message
    assert "version 1 is AVAILABLE; version 2 is AVAILABLE" in check.message


def test_it_waits_for_a_model_that_is_loading(tmp_path: Path) -> None:
    golden = replace(golden_data.affine(1), model="late")
    with small_server() as endpoints:
        report = run(endpoints.grpc_target, [golden_data.save(tmp_path, golden, 1)], timeout=20)
    assert report.passed, report.failures


def test_a_missing_server_fails_after_the_timeout(tmp_path: Path) -> None:
    files = [golden_data.save(tmp_path, golden_data.affine(v), v) for v in (1, 2)]
    started = time.monotonic()
    report = run("127.0.0.1:9", files, timeout=0.5)
    assert time.monotonic() - started < 5
    assert [c.what for c in report.failures] == ["status", "status"]
    assert "Cannot connect to 127.0.0.1:9" in report.failures[0].message


def test_bad_golden_data_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(GoldenError, match="no golden data in"):
        golden_files(tmp_path)
    damaged = tmp_path / "m" / "1.npz"
    damaged.parent.mkdir()
    for content in (b"", b"PK\x03\x04 but not a zip file"):
        damaged.write_bytes(content)
        with pytest.raises(GoldenError, match=r"1\.npz cannot be read"):
            run("localhost:1", [GoldenFile("m", 1, damaged)])
    with pytest.raises(GoldenError, match="No golden data"):
        run("localhost:1", [])
    with pytest.raises(TargetError):
        run("localhost", [golden_data.save(tmp_path, golden_data.affine(1), 1)])


def test_the_command_line_prints_checks_and_a_verdict(
    endpoints: ServerEndpoints, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([endpoints.grpc_target, "--rest", f"127.0.0.1:{endpoints.rest_port}", "--model", "affine"], folder) == 0
    out, err = capsys.readouterr()
    assert not err
    assert "passed  gRPC affine version 1: predict serving_default batch-4 (max relative error " in out
    assert out.splitlines()[-1].startswith(f"PASSED: 22 passed against grpc://{endpoints.grpc_target} and http://")
    assert "echo" not in out


def test_the_command_line_prints_json(endpoints: ServerEndpoints, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([endpoints.rest_target, "--json"], folder) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["passed"] is True
    assert report["targets"] == [endpoints.rest_target]
    assert {check["outcome"] for check in report["checks"]} == {"passed", "skipped"}


def test_the_command_line_exits_with_1_for_failures_and_2_for_wrong_usage(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["127.0.0.1:9", "--timeout", "0.2"], folder) == 1
    assert "FAILED: 0 passed, 3 failed" in capsys.readouterr().out
    assert main(["nonsense"], folder) == 2
    assert "is not HOST:PORT" in capsys.readouterr().err
    assert main(["h:1", "--model", "nope"], folder) == 1
    assert "No golden data" in capsys.readouterr().err
    with pytest.raises(SystemExit) as caught:
        main(["h:1", "--timeout", "0"], folder)
    assert caught.value.code == 2


def test_json_has_no_infinities(endpoints: ServerEndpoints, tmp_path: Path) -> None:
    golden = golden_data.affine(1)
    case = golden.cases[0]
    wrong = replace(case, outputs=case.outputs | {"total": case.outputs["total"].astype(np.int64)})
    report = run(endpoints.grpc_target, [golden_data.save(tmp_path, replace(golden, cases=(wrong,)), 1)], timeout=20)
    text = json.dumps(report.to_json(), allow_nan=False)
    assert "expected dtype int64, got float32" in text
    assert isinstance(Golden.load(tmp_path / "affine" / "1.npz"), Golden)


def labelled(label: str) -> Any:
    """Return the log of a request that version 1 of `affine` answered, for a label; empty for none."""
    x = np.float32([[1, 2, 3]])
    log = predict("affine", x=x)
    log.predict_log.request.model_spec.version_label = label
    for name, array in {"y": 2 * x + 1, "total": np.float32([15])}.items():
        log.predict_log.response.outputs[name].CopyFrom(to_proto(array))
    return log


def test_replayed_requests_keep_their_label_and_folders_are_replayed(endpoints: ServerEndpoints, tmp_path: Path) -> None:
    write_log(tmp_path / "logs" / "1", [labelled("stable")])
    write_log(tmp_path / "logs" / "2", [labelled("stable")])
    for target in (endpoints.grpc_target, endpoints.rest_target):
        report = replay(target, tmp_path / "logs")
        assert report.passed and len(report.checks) == 2
    assert not replay(endpoints.grpc_target, write_log(tmp_path / "newest", [labelled("")])).passed


def test_replay_names_a_damaged_record_and_sends_nothing(endpoints: ServerEndpoints, tmp_path: Path) -> None:
    log = write_log(tmp_path / "log", [labelled("stable"), b"\xff"])
    with pytest.raises(GoldenError, match=r"Record 2 of .*log is not a PredictionLog\."):
        replay(endpoints.grpc_target, log)
    (tmp_path / "empty").mkdir()
    with pytest.raises(GoldenError, match="has no file of requests"):
        replay(endpoints.grpc_target, tmp_path / "empty")
