"""Comparison of two versions: under the embedded server in another process, and under a small server that misbehaves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.client.client import Client
from serving.client.prepared_request import PreparedRequest
from serving.errors import GoldenError, NotReadyError, RequestError, ServingError, TargetError
from serving.launch.server_process import ServerEndpoints
from serving.shadow import run as shadow_run
from serving.shadow.report import Bounds, ShadowReport
from serving.shadow.run import Plan, Shadow, TimedClient
from serving.shadow.sides import Side
from tests.serving.processes import ServerProcess, server_process
from tests.serving.request_logs import batches, inference, others, predict, write_log
from tests.serving.server.recordings import MODELS
from tests.serving.servers import small_server

ONE_TWO = (Side(1), Side(2))
REQUESTS = 24


@pytest.fixture(scope="module")
def small() -> Iterator[ServerEndpoints]:
    with small_server() as endpoints:
        yield endpoints


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The config of `rows` (versions 1 and 2 differ, 3 is a copy of 1, 4 has other inputs) and of `clsreg` in two copies."""
    base = tmp_path_factory.mktemp("shadowed")
    links = {
        "rows/1": "rows/1", "rows/2": "rows/2", "rows/3": "rows/1", "rows/4": "strs/1", "clsreg/1": "clsreg/1",
        "clsreg/2": "clsreg/1",
    }  # fmt: skip
    for name, model in links.items():
        (base / name).parent.mkdir(exist_ok=True)
        (base / name).symlink_to(MODELS / model)
    models = "\n".join(
        f'config {{ name: "{name}" base_path: "{base / name}" model_platform: "tensorflow" model_version_policy {{ all {{}} }} '
        f"{labels} }}"
        for name, labels in (
            ("rows", 'version_labels { key: "stable" value: 1 } version_labels { key: "canary" value: 2 }'),
            ("clsreg", ""),
        )
    )
    path = base / "models.config"
    path.write_text(f"model_config_list {{ {models} }}")
    return path


def flags(config: Path) -> tuple[str, ...]:
    return (f"--model_config_file={config}", "--allow_version_labels_for_unavailable_models=true")


@pytest.fixture(scope="module")
def served(config: Path) -> Iterator[ServerProcess]:
    with server_process(*flags(config)) as server:
        with Client(server.grpc_target) as client:
            for model, version in (("rows", 4), ("clsreg", 2)):
                client.wait_until_ready(model, version)
        yield server


@pytest.fixture(scope="module")
def rows_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_log(tmp_path_factory.mktemp("log") / "rows", [predict("rows", x=x) for x in batches(REQUESTS, 4)])


@pytest.fixture(scope="module")
def small_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten requests for each model of the small server."""
    folder = tmp_path_factory.mktemp("log")
    entries = [predict(model, x=x) for model in ("affine", "noisy", "grown", "busy") for x in batches(10, 3)]
    return write_log(folder / "small", entries)


def compared(target: str, log: Path, **plan: Any) -> ShadowReport:
    shadow = Shadow(target, [log], Plan(**{"sides": ONE_TWO, **plan}))
    shadow.run()
    return shadow.report()


def test_versions_that_differ_are_told_with_figures_and_the_worst_requests(served: ServerProcess, rows_log: Path) -> None:
    report = compared(served.grpc_target, rows_log, sides=(Side(label="stable"), Side(label="canary")), worst=3)
    assert not report.incomplete and report.versions == (1, 2) and report.names == ("stable", "canary")
    tally = report.tally
    assert (tally.requests, tally.agreed, tally.differed, tally.one_failed) == (REQUESTS, 0, REQUESTS, 0)
    assert report.disagreement == 1.0
    scores = tally.outputs["serving_default", "y"]
    assert scores.differing == REQUESTS and scores.rows == 3 * REQUESTS and 0 < scores.same_top < scores.rows
    assert scores.max_abs == pytest.approx(_largest_difference(served), rel=1e-5)
    assert scores.mean_abs is not None and 0 < scores.mean_abs < scores.max_abs
    assert all(len(side.seconds) == REQUESTS and side.percentile_ms(50) for side in tally.sides)
    worst = tally.worst
    assert len(worst) == 3 and worst[0].where.startswith("record ") and worst[0].inputs[0].startswith("x: float32[3,4] from -")
    assert "output 'y' at [" in worst[0].explanation and "another top class in" in worst[0].explanation
    assert report.exceeded(Bounds(0.5)) == ["The versions differ on 100 % of the requests; at most 50 % is allowed."]
    assert "canary takes " in report.verdict()


def _largest_difference(served: ServerProcess) -> float:
    with Client(served.grpc_target) as client:
        answers = [[client.predict("rows", x=x, version=version)["y"] for version in (1, 2)] for x in batches(REQUESTS, 4)]
    return float(max(np.abs(first - second).max() for first, second in answers))


@pytest.mark.parametrize("over", ["grpc_target", "rest_target"])
def test_equal_versions_agree_on_every_request(served: ServerProcess, rows_log: Path, over: str) -> None:
    report = compared(getattr(served, over), rows_log, sides=(Side(1), Side(3)), concurrency=4)
    assert (report.tally.agreed, report.disagreement, report.noise, report.changes) == (REQUESTS, 0.0, 0.0, ())
    assert report.tally.worst == () and not report.exceeded(Bounds(0.0, 1000))
    data = json.loads(json.dumps(report.to_json(Bounds(0.0)), allow_nan=False))
    assert data["passed"] and data["complete"] and data["outputs"][1]["same_top_share"] == 1.0


def test_classify_and_regress_requests_are_compared_and_others_named(served: ServerProcess, tmp_path: Path) -> None:
    example = {"x": [1.0, 2.0]}
    log = write_log(
        tmp_path / "inferred",
        [
            inference("classify_log", "clsreg", "serving_default", example, example),
            inference("regress_log", "clsreg", "regress", example),
            *others(),
        ],
    )
    report = compared(served.grpc_target, log)
    assert {key: figures.rows for key, figures in report.tally.outputs.items()} == {
        ("serving_default", "classes"): 0, ("serving_default", "scores"): 2, ("regress", "outputs"): 0,
    }  # fmt: skip
    assert report.tally.agreed == 2
    assert report.left_out.kinds == {"multi_inference_log": 1, "session_run_log": 1, "predict_streamed_log": 1, "none": 1}
    assert "1 record of session_run_log skipped: the client has no call for SessionRun." in report.notes()


def test_version_with_a_changed_signature_refuses_every_request(served: ServerProcess, rows_log: Path) -> None:
    report = compared(served.grpc_target, rows_log, sides=(Side(1), Side(4)), worst=1)
    tally = report.tally
    assert (tally.one_failed, tally.agreed, report.disagreement) == (REQUESTS, 0, 1.0)
    ((status, count),) = tally.sides[1].failures.items()
    assert status == "INVALID_ARGUMENT" and count == REQUESTS and tally.sides[0].failed == 0
    assert tally.sides[1].examples[status].startswith("record 1 of rows: ")
    assert tally.worst[0].explanation.startswith("only version 4 fails: ")
    assert any("Signature 'serving_default', input 'x': float32[?,4] in version 1, absent" in change for change in report.changes)
    assert report.latency_ratio() is None and not report.exceeded(Bounds(max_latency_ratio=1.0))


def test_server_that_ends_halfway_leaves_partial_figures(
    config: Path, rows_log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shadow_run, "RECONNECT_SECONDS", 0.2)
    with server_process(*flags(config)) as server:
        with Client(server.grpc_target) as client:
            client.wait_until_ready("rows", 2)
        original, sent = PreparedRequest.send, []

        def send(request: PreparedRequest, client: Client) -> Any:
            sent.append(request)
            if len(sent) == 12:
                server.process.kill()
                server.process.wait()
            return original(request, client)

        monkeypatch.setattr(PreparedRequest, "send", send)
        report = compared(server.grpc_target, rows_log, noise_every=0)
    (why,) = report.incomplete
    assert why.startswith("The server could not be reached any more after 4 requests, at record 5 of rows: ")
    assert report.tally.requests == report.tally.differed == 4
    assert report.to_json()["complete"] is False


def test_server_that_comes_back_is_waited_for(small: ServerEndpoints, small_log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original, calls = TimedClient._send, []

    def cut_once(client: TimedClient, request: Any) -> Any:
        calls.append(request)
        if len(calls) == 8:
            raise shadow_run.ConnectionFailedError("Cannot connect.")
        return original(client, request)

    monkeypatch.setattr(TimedClient, "_send", cut_once)
    report = compared(small.grpc_target, small_log)
    assert not report.incomplete and report.tally.requests == report.tally.differed == 10


def test_version_that_is_not_loaded_and_an_unknown_label_are_refused(served: ServerProcess, rows_log: Path) -> None:
    with pytest.raises(NotReadyError, match=r"does not serve version 9 of 'rows' .*version 4 is AVAILABLE") as caught:
        compared(served.grpc_target, rows_log, sides=(Side(1), Side(9)))
    assert caught.value.code == "TFB9352"
    with pytest.raises(NotReadyError, match="a version labelled 'nope' of 'rows'") as caught:
        compared(served.grpc_target, rows_log, sides=(Side(1), Side(label="nope")))
    assert "tfbundle promote DIR --label nope" in str(caught.value.fix)
    with pytest.raises(TargetError, match=r"Both sides are version 1 of 'rows' \(version 1 and stable\)"):
        compared(served.grpc_target, rows_log, sides=(Side(1), Side(label="stable")))


def test_model_that_the_server_does_not_know_is_refused(served: ServerProcess, small_log: Path) -> None:
    with pytest.raises(RequestError, match="NOT_FOUND"):
        compared(served.grpc_target, small_log)


def test_label_that_moves_during_the_comparison_is_told(
    served: ServerProcess, rows_log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shadow = Shadow(served.grpc_target, [rows_log], Plan((Side(label="stable"), Side(label="canary")), limit=2))
    resolve = Side.resolve
    monkeypatch.setattr(Side, "resolve", lambda side, *rest: resolve(Side(3) if side.label == "canary" else side, *rest))
    shadow.run()
    assert shadow.report().incomplete == ("The label 'canary' moved from version 2 to version 3 during the comparison.",)


def test_version_that_is_unloaded_during_the_comparison_is_told(
    served: ServerProcess, rows_log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shadow = Shadow(served.grpc_target, [rows_log], Plan(ONE_TWO, limit=2))
    resolve = Side.resolve
    monkeypatch.setattr(Side, "resolve", lambda side, *rest: resolve(Side(8), *rest))
    shadow.run()
    (why,) = shadow.report().incomplete
    assert why.startswith("At the end, the versions could not be asked for any more: The server does not serve version 8")


def test_versions_take_turns_in_being_first_and_only_a_sample_is_repeated(
    small: ServerEndpoints, small_log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int | None] = []
    original = PreparedRequest.send
    monkeypatch.setattr(PreparedRequest, "send", lambda self, client: (asked.append(self.version), original(self, client))[1])
    report = compared(small.grpc_target, small_log, limit=4, noise_every=3)
    assert asked == [1, 2, *(1, 2, 1), *(2, 1), *(1, 2), *(2, 1, 1)]  # the first two open the connection
    assert (report.tally.repeated, report.tally.repeats_agreed) == (2, 2)


def test_model_that_answers_differently_each_time_shows_as_noise(small: ServerEndpoints, small_log: Path) -> None:
    sides = (Side(label="stable"), Side(label="canary"))
    report = compared(small.grpc_target, small_log, model="noisy", sides=sides, noise_every=2)
    assert (report.tally.repeated, report.noise, report.disagreement) == (5, 1.0, 1.0)
    assert "stable differs from itself on 100 % of 5 requests that it was asked twice" in " ".join(report.notes())
    assert report.left_out.models == {"affine": 10, "grown": 10, "busy": 10}
    assert report.tally.noise["serving_default", "y"].mean_abs


def test_other_shapes_dtypes_and_outputs_are_differences(small: ServerEndpoints, small_log: Path) -> None:
    report = compared(small.grpc_target, small_log, model="grown")
    problems = {output: figures.problem for (_, output), figures in report.tally.outputs.items()}
    assert problems == {
        "y": "expected shape [3, 3], got [3, 4]",
        "total": "expected dtype float32, got float64",
        "extra": "the first version does not answer it",
    }
    assert report.tally.differed == 10 and json.dumps(report.to_json(), allow_nan=False)


def test_outputs_that_a_request_asked_for_are_compared_alone(small: ServerEndpoints, tmp_path: Path) -> None:
    x = batches(1, 3)[0]
    log = write_log(tmp_path / "log", [predict("affine", x=x, output_filter=["total"]), predict("affine", x=x)])
    report = compared(small.grpc_target, log)
    assert {output: figures.requests for (_, output), figures in report.tally.outputs.items()} == {"total": 2, "y": 1}
    chosen = compared(small.grpc_target, log, outputs=("y",), agree_on="top1")
    assert [output for _, output in chosen.tally.outputs] == ["y"]
    with pytest.raises(ServingError, match=r"Neither version answers 'z' to record 1 of log; there are: total, y") as caught:
        compared(small.grpc_target, log, outputs=("z",))
    assert caught.value.code == "TFB9356"


def test_versions_with_the_same_top_classes_agree_on_these(small: ServerEndpoints, small_log: Path) -> None:
    report = compared(small.grpc_target, small_log, agree_on="top1")
    assert (report.tally.agreed, report.tally.differed) == (10, 0)
    assert report.tally.outputs["serving_default", "y"].differing == 10
    assert "10 of 10 requests agree (100 %, the same top classes)" in report.verdict()
    with pytest.raises(ServingError, match=r"needs an output with scores of classes.* answers total \[3\]") as caught:
        compared(small.grpc_target, small_log, agree_on="top1", outputs=("total",))
    assert caught.value.code == "TFB9355"


def test_requests_that_neither_version_answers_are_no_comparison(small: ServerEndpoints, small_log: Path) -> None:
    report = compared(small.grpc_target, small_log, model="busy")
    assert (report.tally.both_failed, report.disagreement) == (10, None)
    assert report.verdict() == "Nothing was compared: neither version answers any of 10 requests."
    assert report.to_json()["passed"] is False and not report.incomplete


def test_damaged_record_is_counted_and_the_others_are_compared(small: ServerEndpoints, tmp_path: Path) -> None:
    good = [predict("affine", x=x) for x in batches(4, 3)]
    write_log(tmp_path / "logs" / "1", [good[0], b"\xff" * 30, good[1]])
    cut = write_log(tmp_path / "logs" / "2", [good[2], good[3]])
    cut.write_bytes(cut.read_bytes()[:-7])
    write_log(tmp_path / "logs" / "3", [good[3]])
    report = compared(small.grpc_target, tmp_path / "logs")
    assert report.tally.requests == 4
    first, second = report.incomplete
    assert first == f"Record 2 of {tmp_path / 'logs' / '1'} is not a PredictionLog."
    assert "ends within the record at byte" in second and second.endswith("The rest of the file was not compared.")
    assert report.to_json()["skipped"]["damaged_count"] == 2


def test_log_without_a_request_is_refused(small: ServerEndpoints, small_log: Path, tmp_path: Path) -> None:
    empty = write_log(tmp_path / "empty", [])
    with pytest.raises(GoldenError, match="The logs have no predict, classify or regress request") as caught:
        compared(small.grpc_target, empty)
    assert caught.value.code == "TFB9351"
    with pytest.raises(GoldenError, match=r"request of the model 'ocr'\. 10 requests of the model 'affine' skipped\. 10 "):
        compared(small.grpc_target, small_log, model="ocr")
    with pytest.raises(GoldenError, match=r"and the signature 'z'\. .* 10 requests of the signature 'serving_default' skipped"):
        compared(small.grpc_target, small_log, model="affine", signature="z")


def test_interrupted_comparison_tells_the_figures_so_far(small: ServerEndpoints, small_log: Path) -> None:
    shadow = Shadow(small.grpc_target, [small_log], Plan(ONE_TWO))

    def interrupt(tally: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        shadow.run(interrupt)
    (why,) = shadow.report().incomplete
    assert why.startswith("It was interrupted after ")
    assert shadow.report().seconds > 0


def test_time_of_an_exchange_is_the_servers_and_the_networks(small: ServerEndpoints) -> None:
    with TimedClient(small.grpc_target, timeout=0.2) as client, pytest.raises(ServingError):
        client.predict("slow", x=np.zeros((1, 3), np.float32))
    assert 0.15 < client.seconds < 5


def test_server_that_hangs_ends_the_comparison(small: ServerEndpoints, tmp_path: Path) -> None:
    log = write_log(tmp_path / "log", [predict("slow", x=x) for x in batches(50, 3)])
    report = compared(small.grpc_target, log, timeout=0.05)
    assert report.incomplete == ("Neither version answered 3 requests in a row within 0.05 s.",)
    assert report.tally.requests == 3 and report.tally.sides[0].failures == {"DEADLINE_EXCEEDED": 3}
