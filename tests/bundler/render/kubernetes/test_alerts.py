"""The alert rules: Prometheus accepts them, and each fires when it should and not before."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from bundler.render import RenderContext
from bundler.render.files import write_yaml
from bundler.render.kubernetes import alerts
from tests import requirements
from tests.bundler.cli.commands import run
from tests.bundler.render.conftest import make_context
from tests.bundler.render.kubernetes.real_metrics import SOURCES, names_in

CONTEXT = make_context(serving={"batching": True})
LOADED = ':tensorflow:cc:saved_model:load_attempt_count{{model_path="/models/{}",status="{}",instance="{}"}}'
DIGITS, MINILM = (LOADED.format(path, "success", "a") for path in ("digits/3", "minilm/4"))
REQUESTS = ':tensorflow:serving:request_count{{namespace="prod",model_name="{}",status="{}",instance="a"}}'
LATENCY = ':tensorflow:serving:request_latency_bucket{{namespace="prod",model_name="digits",instance="a",le="{}"}}'
QUEUE = ':tensorflow:serving:batching_session:queuing_latency_bucket{{namespace="prod",instance="{}",le="{}"}}'
UP = "1x60"
HEALTHY = {DIGITS: UP, MINILM: UP}

CASES: dict[str, tuple[str, dict[str, str], str, dict[str, str]]] = {
    "a model that no server has loaded": (
        "TfServingModelMissing", {DIGITS: UP}, "30m", {"severity": "critical", "model_name": "minilm"},
    ),
    "a server that is gone": (
        "TfServingModelMissing", {DIGITS: "1x5 stale", MINILM: UP}, "30m", {"severity": "critical", "model_name": "digits"},
    ),
    "a load that fails": (
        "TfServingLoadFailed", {**HEALTHY, LOADED.format("digits/9", "fail", "a"): "_x20 1x40"}, "23m",
        {"severity": "warning", "status": "fail", "instance": "a", "model_path": "/models/digits/9"},
    ),
    "a load that fails again": (
        "TfServingLoadFailed", {**HEALTHY, LOADED.format("digits/9", "fail", "a"): "1x40 2x20"}, "43m",
        {"severity": "warning", "status": "fail", "instance": "a", "model_path": "/models/digits/9"},
    ),
    "two percent of errors": (
        "TfServingErrors",
        {**HEALTHY, REQUESTS.format("digits", "OK"): "0+98x60", REQUESTS.format("digits", "INTERNAL"): "0+2x60"}, "30m",
        {"severity": "critical", "namespace": "prod", "model_name": "digits"},
    ),
    "slow answers": (
        "TfServingSlow", {**HEALTHY, LATENCY.format("500000"): "0+95x60", LATENCY.format("900000"): "0+100x60",
                          LATENCY.format("+Inf"): "0+100x60"}, "30m",
        {"severity": "warning", "namespace": "prod", "model_name": "digits"},
    ),
    "a slow queue": (
        "TfServingQueueSlow", {**HEALTHY, QUEUE.format("a", "100000"): "0+90x60", QUEUE.format("a", "200000"): "0+100x60",
                               QUEUE.format("a", "+Inf"): "0+100x60"}, "30m",
        {"severity": "warning", "namespace": "prod"},
    ),
    "a full queue": (
        "TfServingQueueFull",
        {**HEALTHY, REQUESTS.format("digits", "OK"): "0+1000x60", REQUESTS.format("digits", "UNAVAILABLE"): "0+1x60"}, "30m",
        {"severity": "warning", "namespace": "prod", "model_name": "digits"},
    ),
}  # fmt: skip
"""What is wrong -> the alert, the series of an hour by the minute, when it has fired, and its labels."""

QUIET: dict[str, tuple[dict[str, str], str]] = {
    "a healthy server": (
        {**HEALTHY, REQUESTS.format("digits", "OK"): "0+1000x60", REQUESTS.format("digits", "INTERNAL"): "0+9x60",
         LATENCY.format("400000"): "0+100x60", LATENCY.format("+Inf"): "0+100x60",
         QUEUE.format("a", "50000"): "0+100x60", QUEUE.format("a", "+Inf"): "0+100x60"}, "30m",
    ),
    "a server without requests": (HEALTHY, "30m"),
    "mistakes of clients": (
        {**HEALTHY, REQUESTS.format("digits", "OK"): "0+1x60", REQUESTS.format("digits", "INVALID_ARGUMENT"): "0+9x60",
         REQUESTS.format("digits", "NOT_FOUND"): "0+9x60"}, "30m",
    ),
    "errors for less than ten minutes": (
        {**HEALTHY, REQUESTS.format("digits", "OK"): "0+98x60",
         REQUESTS.format("digits", "INTERNAL"): "0x20 0+50x4 200x36"}, "28m",
    ),
    "a restart of two minutes": ({DIGITS: "1x10 _x2 1x48", MINILM: UP}, "13m"),
    "a load that failed long ago": ({**HEALTHY, LOADED.format("digits/9", "fail", "a"): "1x60"}, "59m"),
    "other bundles on the same Prometheus": (
        {**HEALTHY, LOADED.format("other/1", "fail", "b"): "_x20 1x40", REQUESTS.format("other", "INTERNAL"): "0+100x60",
         QUEUE.format("b", "100000"): "0x60", QUEUE.format("b", "+Inf"): "0+100x60"}, "30m",
    ),
}  # fmt: skip
"""A case in which nothing fires -> the series, and when."""


def promtool(*arguments: str) -> None:
    done = subprocess.run([requirements.promtool(), *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def written(folder: Path, context: RenderContext = CONTEXT) -> Path:
    path = folder / "rules.yaml"
    path.write_text(alerts.files(context)["rules.yaml"])
    return path


def firing(series: dict[str, str], time: str, expected: list[dict[str, str]]) -> dict[str, Any]:
    """Return a test of promtool: at `time`, exactly these alerts fire."""
    always = {"alertstate": "firing", "bundle": "demo"}
    samples = [{"labels": f"ALERTS{_labels({**always, **each})}", "value": 1} for each in expected]
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [{"expr": 'ALERTS{alertstate="firing"}', "eval_time": time, "exp_samples": samples}],
    }


def _labels(labels: dict[str, str]) -> str:
    return "{" + ",".join(f'{name}="{value}"' for name, value in sorted(labels.items())) + "}"


def test_each_alert_fires_when_it_should_and_not_before(tmp_path: Path) -> None:
    tests = [firing(series, time, [{"alertname": name, **labels}]) for name, series, time, labels in CASES.values()]
    # In the first minute nothing can have been wrong for long enough.
    tests += [firing(series, "1m", []) for name, series, _, _ in CASES.values() if name != "TfServingLoadFailed"]
    tests += [firing(series, time, []) for series, time in QUIET.values()]
    written(tmp_path)
    (tmp_path / "tests.yaml").write_text(write_yaml({"rule_files": ["rules.yaml"], "tests": tests}))
    promtool("test", "rules", str(tmp_path / "tests.yaml"))
    assert {name for name, *_ in CASES.values()} == {alert.name for alert in alerts.alerts(CONTEXT)}


def test_thresholds_are_those_of_the_settings(tmp_path: Path) -> None:
    settings = {"error_percent": 5, "latency_milliseconds": 1000, "queue_milliseconds": 250, "minutes": 30}
    context = make_context(serving={"batching": True}, kubernetes={"alerts": settings})
    errors = {**HEALTHY, REQUESTS.format("digits", "OK"): "0+90x60", REQUESTS.format("digits", "INTERNAL"): "0+10x60"}
    fires = {"alertname": "TfServingErrors", "severity": "critical", "namespace": "prod", "model_name": "digits"}
    exceeded = ("TfServingErrors", "TfServingSlow", "TfServingQueueSlow")
    quiet = [series for name, series, _, _ in CASES.values() if name in exceeded]
    tests = [firing(errors, "28m", []), firing(errors, "50m", [fires]), *(firing(series, "59m", []) for series in quiet)]
    written(tmp_path, context)
    (tmp_path / "tests.yaml").write_text(write_yaml({"rule_files": ["rules.yaml"], "tests": tests}))
    promtool("test", "rules", str(tmp_path / "tests.yaml"))


@pytest.mark.parametrize(
    ("serving", "names"),
    [
        ({"batching": True}, {"ModelMissing", "LoadFailed", "Errors", "Slow", "QueueSlow", "QueueFull"}),
        ({"batching": False}, {"ModelMissing", "LoadFailed", "Errors", "Slow"}),
    ],
)
def test_bundle_has_the_alerts_that_its_settings_allow(serving: dict[str, Any], names: set[str], tmp_path: Path) -> None:
    context = make_context(serving=serving)
    assert {alert.name.removeprefix("TfServing") for alert in alerts.alerts(context)} == names
    promtool("check", "rules", str(written(tmp_path, context)))


def test_resource_of_the_operator_has_the_same_rules_and_its_labels() -> None:
    context = make_context(kubernetes={"alerts": {"labels": {"release": "prometheus"}}})
    resource, plain = (YAML(typ="safe").load(text) for text in alerts.files(context).values())
    assert resource["spec"] == plain
    assert resource["metadata"] == {"name": "demo", "labels": {"release": "prometheus"}}


def test_rules_name_only_metrics_of_the_real_server() -> None:
    assert names_in(" ".join(alert.expression for alert in alerts.alerts(CONTEXT))) <= SOURCES.keys()


def test_each_runbook_has_a_command_that_exists() -> None:
    """The commands are those that a reader will type, so each has to be one of tfbundle's, with flags that it has."""
    for alert in alerts.alerts(CONTEXT):
        commands = re.findall(r"`tfbundle ([a-z]+)([^`]*)`", alert.runbook)
        assert commands, alert.name
        for name, rest in commands:
            shown = run(name, "--help").output
            assert all(flag in shown for flag in re.findall(r"--[a-z-]+", rest)), (alert.name, name)
