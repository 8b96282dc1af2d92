"""The dashboard: Grafana's own types know it, its queries name what the server exports, and a Prometheus answers each of them."""

from __future__ import annotations

import json
import re
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bundler.render import RenderContext, RenderedModel
from bundler.render.files import write_yaml
from bundler.render.kubernetes import alerts, promql
from bundler.render.kubernetes.dashboard import dashboard, panels
from bundler.spec.bundle_spec import parse_spec
from serving import Client, Server
from tests import requirements
from tests.bundler.render.conftest import make_context
from tests.bundler.render.kubernetes.real_metrics import SOURCES, exported, names_in, recorded
from tests.bundler.render.kubernetes.test_alerts import promtool
from tests.serving.processes import free_port
from tests.serving.server.recordings import MODELS

CONTEXT = make_context(serving={"batching": True})
ROWS = RenderContext("rows", parse_spec({"serving": {"batching": True}}, where="the test"), (RenderedModel("rows", (2,), 1),))
"""A bundle with the model that the tests serve."""

FAKE_KUBELET = """\
# TYPE container_memory_working_set_bytes gauge
container_memory_working_set_bytes{pod="rows-5d9c-x",container="tensorflow-serving"} 2e8
# TYPE kube_pod_container_resource_limits gauge
kube_pod_container_resource_limits{pod="rows-5d9c-x",container="tensorflow-serving",resource="memory"} 1e9
"""


def interpolated(query: str) -> str:
    """Put values in place of Grafana's variables, as Grafana does with "All" selected."""
    return query.replace("$__rate_interval", "1m").replace("${model:regex}", "rows").replace("${version:regex}", "[0-9]+")


def queries(context: RenderContext, *, kubelet: bool = True) -> dict[str, str]:
    """Return the queries by title of the panel and legend."""
    found = {}
    for row, listed in panels(context).items():
        if kubelet or row != "Memory":
            found |= {f"{panel.title}: {legend}": query for panel in listed for legend, query in panel.queries.items()}
    return found


def test_queries_are_promql(tmp_path: Path) -> None:
    rules = [{"record": f"panel_{number}", "expr": interpolated(query)} for number, query in enumerate(queries(CONTEXT).values())]
    path = tmp_path / "rules.yaml"
    path.write_text(write_yaml({"groups": [{"name": "panels", "rules": rules}]}))
    promtool("check", "rules", str(path))
    rules[0]["expr"] += ")"
    path.write_text(write_yaml({"groups": [{"name": "panels", "rules": rules}]}))
    with pytest.raises(AssertionError, match="could not parse expression"):
        promtool("check", "rules", str(path))


def test_queries_name_only_metrics_of_the_real_server_and_memory_those_of_the_kubelet() -> None:
    own = " ".join(queries(CONTEXT, kubelet=False).values())
    assert names_in(own) == SOURCES.keys()
    assert not [name for name in promql.KUBELET if name in own]
    (memory,) = panels(CONTEXT)["Memory"]
    assert not names_in(" ".join(memory.queries.values()))
    assert {name for name in SOURCES if name.startswith(":tensorflow:cc:")} <= recorded()


def test_embedded_server_exports_every_metric_that_rules_and_dashboard_name(tmp_path: Path) -> None:
    config = tmp_path / "monitoring.config"
    config.write_text("prometheus_config { enable: true }")
    with Server(MODELS / "rows", enable_batching=True, monitoring_config_file=str(config), warmup=False) as server:
        with Client(f"127.0.0.1:{server.grpc_port}") as client:
            client.predict("rows", x=np.float32([[1, 2, 3, 4]]), signature="single")
        url = f"http://127.0.0.1:{server.rest_port}/monitoring/prometheus/metrics"
        with urllib.request.urlopen(url, timeout=20) as response:
            text = response.read().decode()
    named = names_in(" ".join([*queries(CONTEXT).values(), *(alert.expression for alert in alerts.alerts(CONTEXT))]))
    assert named == SOURCES.keys() and named <= exported(text)
    folder = re.escape(str(MODELS / "rows" / "2"))
    assert re.search(rf':tensorflow:cc:saved_model:load_attempt_count{{model_path="{folder}",status="success"}} 1\n', text)
    assert re.search(rf':tensorflow:cc:saved_model:load_latency{{model_path="{folder}"}} [1-9][0-9]+\n', text)


def test_panels_do_not_overlap_and_have_numbers_of_their_own() -> None:
    document = json.loads(dashboard(CONTEXT))
    taken: set[tuple[int, int]] = set()
    for panel in document["panels"]:
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert max(x for x, _ in cells) < 24 and not cells & taken
        taken |= cells
    numbers = [panel["id"] for panel in document["panels"]]
    assert len(set(numbers)) == len(numbers)
    rows = [panel["title"] for panel in document["panels"] if panel["type"] == "row"]
    assert rows == ["Requests", "Batches", "Models", "Memory"]


def test_dashboard_has_the_rows_that_the_bundle_has_metrics_for() -> None:
    assert list(panels(make_context(serving={"batching": False}))) == ["Requests", "Models", "Memory"]


def test_variables_are_data_source_models_and_loaded_versions() -> None:
    source, model, version = json.loads(dashboard(CONTEXT))["templating"]["list"]
    assert (source["type"], source["query"]) == ("datasource", "prometheus")
    assert (model["type"], model["query"], model["includeAll"]) == ("custom", "digits,minilm", True)
    pattern = re.compile(version["regex"].strip("/").replace("\\/", "/"))
    assert pattern.fullmatch("/models/digits/12")[1] == "12"  # type: ignore[index]
    used = [target["expr"] for panel in json.loads(dashboard(CONTEXT))["panels"] for target in panel.get("targets", ())]
    assert any("${model:regex}" in query for query in used) and any("${version:regex}" in query for query in used)
    for panel in json.loads(dashboard(CONTEXT))["panels"]:
        assert panel["type"] == "row" or panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


def test_grafanas_types_know_every_key_of_the_dashboard() -> None:
    """The types drop keys that they do not know, so what comes back has all of ours only if each is one of Grafana's."""
    modules = ("models.dashboard", "cog.encoder", "cog.plugins")
    models, encoder, plugins = (
        requirements.require_package(f"grafana_foundation_sdk.{name}", "pip install grafana-foundation-sdk") for name in modules
    )
    plugins.register_default_plugins()
    given = json.loads(dashboard(CONTEXT))
    read = json.loads(encoder.JSONEncoder(sort_keys=True).encode(models.Dashboard.from_json(given)))
    assert list(lost(given, read)) == []
    given["panels"][1]["nonsense"] = 1
    read = json.loads(encoder.JSONEncoder().encode(models.Dashboard.from_json(given)))
    assert list(lost(given, read)) == ["/panels/1/nonsense"]


def lost(given: Any, read: Any, where: str = "") -> Iterator[str]:
    """Yield the places of what `read` lacks or has with another value."""
    if isinstance(given, dict) and isinstance(read, dict):
        for key, value in given.items():
            if key in read:
                yield from lost(value, read[key], f"{where}/{key}")
            elif value not in ([], {}, None):
                yield f"{where}/{key}"
    elif isinstance(given, list) and isinstance(read, list) and len(given) == len(read):
        for index, (one, other) in enumerate(zip(given, read, strict=True)):
            yield from lost(one, other, f"{where}/{index}")
    elif given != read:
        yield where


@contextmanager
def kubelet() -> Iterator[int]:
    """Export the memory of a pod. Yields the port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(FAKE_KUBELET.encode())

        def log_message(self, format: str, *args: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@contextmanager
def prometheus(folder: Path, *targets: str) -> Iterator[str]:
    """Scrape targets with a Prometheus. Yields the URL of its API."""
    (folder / "rules.yaml").write_text(alerts.files(ROWS)["rules.yaml"])
    scrape = {"job_name": "models", "metrics_path": "/monitoring/prometheus/metrics", "static_configs": [{"targets": [*targets]}]}
    config = {"global": {"scrape_interval": "1s"}, "rule_files": ["rules.yaml"], "scrape_configs": [scrape]}
    (folder / "prometheus.yaml").write_text(write_yaml(config))
    port = free_port()
    command = [
        requirements.prometheus(), f"--config.file={folder}/prometheus.yaml", f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}", "--log.level=error",
    ]  # fmt: skip
    with subprocess.Popen(command) as process:
        yield f"http://127.0.0.1:{port}/api/v1"
        process.terminate()


def answer(api: str, path: str, **parameters: str) -> Any:
    with urllib.request.urlopen(f"{api}/{path}?{urllib.parse.urlencode(parameters)}", timeout=20) as response:
        return json.load(response)["data"]


def values_of(api: str, query: str) -> list[float]:
    """Return the values of a query now that are numbers."""
    found = answer(api, "query", query=query)["result"]
    return [float(each["value"][1]) for each in found if each["value"][1] != "NaN"]


@pytest.mark.slow
def test_prometheus_that_scrapes_the_server_answers_every_query(tmp_path: Path) -> None:
    """The memory comes from a fake of the kubelet, and a warm-up is recorded by hand, as the model has no warm-up requests."""
    requirements.prometheus()
    config = tmp_path / "monitoring.config"
    config.write_text("prometheus_config { enable: true }")
    models = tmp_path / "models.config"
    names = "".join(
        f'config {{ name: "{name}" base_path: "{MODELS / name}" model_platform: "tensorflow" }}\n' for name in ("rows", "clsreg")
    )
    models.write_text(f"model_config_list {{ {names} }}")
    data = tmp_path / "prometheus"
    data.mkdir()
    flags = {"enable_batching": True, "monitoring_config_file": str(config)}
    with kubelet() as port, Server(models, **flags) as server:
        server.metrics.record_warmup(str(MODELS / "rows" / "2"), 0.5)
        with (
            Client(f"127.0.0.1:{server.grpc_port}") as grpc, Client(f"http://127.0.0.1:{server.rest_port}") as rest,
            prometheus(data, f"127.0.0.1:{server.rest_port}", f"127.0.0.1:{port}") as api,
        ):  # fmt: skip
            wanted = {title: interpolated(query) for title, query in queries(ROWS).items()}
            deadline = time.monotonic() + 90
            while wanted and time.monotonic() < deadline:
                for client in (grpc, rest):
                    client.predict("rows", x=np.float32([[1, 2, 3, 4]] * 2), signature="single")
                time.sleep(0.5)
                with suppress(urllib.error.URLError, ConnectionError):  # Prometheus has not opened its port yet
                    wanted = {title: query for title, query in wanted.items() if not values_of(api, query)}
            assert not wanted
            assert {group["name"] for group in answer(api, "rules")["groups"]} == {"tfbundle-rows"}
            assert not [rule for rule in answer(api, "rules")["groups"][0]["rules"] if rule["health"] == "err"]
            versions = answer(api, "series", **{"match[]": promql.series(promql.LOADS, model_path=promql.model_path("rows"))})
            assert {each["model_path"] for each in versions} == {str(MODELS / "rows" / "2")}
