"""A Grafana dashboard of a bundle's servers: requests, latencies, batches, models and memory.

The JSON is that of the classic dashboard schema, which Grafana 10 to 13 import. The variables are the data source, the bundle's
models, and the versions that servers have loaded.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bundler.render import RenderContext, short_hash
from bundler.render.kubernetes import promql

SCHEMA = 39
"""schemaVersion: that of Grafana 10.4; newer releases convert it."""

_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_WINDOW = "$__rate_interval"
_MODELS, _VERSIONS = "${model:regex}", "${version:regex}"
_COLUMNS, _HEIGHT = 24, 8
_CONTAINERS = "=~tensorflow-serving|kserve-container"
"""Names of the server's container, in the Deployment and in KServe's pods."""


@dataclass(frozen=True)
class Panel:
    """A panel.

    Attributes:
        title: its title.
        queries: legend -> PromQL.
        unit: Grafana's name of the unit.
        description: what it shows.
        kind: `timeseries`, `stat` or `heatmap`.
        width: columns, of 24.
    """

    title: str
    queries: dict[str, str]
    unit: str
    description: str
    kind: str = "timeseries"
    width: int = 12


def dashboard(context: RenderContext) -> str:
    """Return the dashboard as JSON."""
    title = f"Models of {context.objects_name}"
    document = {
        "uid": f"tfbundle-{short_hash(context.objects_name, 16)}",
        "title": title,
        "description": "TensorFlow Serving with the models of a bundle. Written by tfbundle.",
        "tags": ["tensorflow-serving", "tfbundle"],
        "schemaVersion": SCHEMA,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": _variables(context)},
        "annotations": {"list": []},
        "links": [],
        "panels": list(_placed(context)),
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def panels(context: RenderContext) -> dict[str, list[Panel]]:
    """Return the panels by the title of their row."""
    rows = {"Requests": _requests(), "Models": _loads(), "Memory": _memory(context)}
    if context.spec.prefers_tflite:
        del rows["Models"]  # TensorFlow Serving counts no loads of TFLite files
    if context.spec.serving.batching:
        rows = {"Requests": rows.pop("Requests"), "Batches": _batches(), **rows}
    return rows


def _requests() -> list[Panel]:
    models = f"=~{_MODELS}"
    requests = promql.series(promql.REQUESTS, model_name=models)
    faults = promql.series(promql.REQUESTS, model_name=models, status=f"=~{promql.FAULTS}")
    latency = promql.series(f"{promql.LATENCY}_bucket", model_name=models)
    run = promql.series(f"{promql.RUN_LATENCY}_bucket", model_name=models)
    share = f"{promql.per_second(faults, _WINDOW, 'model_name')} / {promql.per_second(requests, _WINDOW, 'model_name')}"
    return [
        Panel(
            "Request rate",
            {"{{model_name}} {{status}}": promql.per_second(requests, _WINDOW, "model_name", "status")},
            "reqps",
            "Requests per second by status. INVALID_ARGUMENT, NOT_FOUND and the like are mistakes of clients.",
        ),
        Panel(
            "Errors",
            {"{{model_name}}": f"{share} or 0 * {promql.per_second(requests, _WINDOW, 'model_name')}"},
            "percentunit",
            "Share of the requests that fail by the server's fault.",
        ),
        Panel(
            "Latency",
            {f"{{{{model_name}}}} p{100 * q:g}": promql.quantile(q, latency, _WINDOW, "model_name") for q in (0.5, 0.95, 0.99)},
            "s",
            "Time from the arrival of a request to its answer, of successful requests.",
        ),
        Panel(
            "Run of the model",
            {f"{{{{model_name}}}} p{100 * q:g}": promql.quantile(q, run, _WINDOW, "model_name") for q in (0.5, 0.99)},
            "s",
            "Time in TensorFlow; with batching, the wait for a batch is included. The rest of the latency is decoding, "
            "encoding and waiting for a thread.",
        ),
        Panel(
            "Latency by interface, p99",
            {"{{entrypoint}} {{API}}": promql.quantile(0.99, latency, _WINDOW, "entrypoint", "API")},
            "s",
            "gRPC and REST, by method.",
        ),
    ]


def _batches() -> list[Panel]:
    size = f"{promql.BATCH_SIZE}_sum"
    return [
        Panel(
            "Queue",
            {f"p{100 * q:g}": promql.queue_quantile(q, _WINDOW, _MODELS) for q in (0.5, 0.95, 0.99)},
            "s",
            "How long requests wait for their batch.",
        ),
        Panel(
            "Rows per batch",
            {"mean": promql.mean(promql.BATCH_SIZE, _WINDOW, _MODELS)},
            "short",
            "Rows of a batch, padding included. Close to max_batch_size means that the servers are full.",
        ),
        Panel(
            "Batches",
            {"batches": promql.sum_here(promql.BATCHES, _WINDOW, _MODELS)},
            "ops",
            "Runs of the models per second.",
        ),
        Panel(
            "Padding",
            {
                "share of rows": f"{promql.sum_here(f'{promql.PADDING}_sum', _WINDOW, _MODELS)} / "
                f"{promql.sum_here(size, _WINDOW, _MODELS)}"
            },
            "percentunit",
            "Share of the computed rows that are padding. Much of it: choose allowed_batch_sizes closer together.",
        ),
        Panel(
            "Sizes of batches",
            {"{{le}}": promql.sum_here(f"{promql.BATCH_SIZE}_bucket", _WINDOW, _MODELS, "le")},
            "short",
            "How often which number of rows is computed.",
            kind="heatmap",
            width=24,
        ),
    ]


def _loads() -> list[Panel]:
    path = promql.model_path(_MODELS, _VERSIONS)
    loaded = promql.series(promql.LOADS, model_path=path, status="success")
    failed = promql.series(promql.LOADS, model_path=path, status="!=success")
    return [
        Panel(
            "Versions loaded",
            {"{{model_path}}": f"count by (model_path) ({loaded})"},
            "short",
            "Number of servers that have loaded a version since they started; a version may have been unloaded since.",
            kind="stat",
        ),
        Panel(
            "Failed loads",
            {"{{model_path}}": f"sum by (model_path) ({failed}) or 0 * sum by (model_path) ({loaded})"},
            "short",
            "Attempts to load a version that failed, since the servers started.",
            kind="stat",
        ),
        Panel(
            "Load time",
            {"{{model_path}}": f"max by (model_path) ({promql.series(promql.LOAD_TIME, model_path=path)}) / 1e6"},
            "s",
            "Time to load a version, on the slowest server.",
        ),
        Panel(
            "Warm-up",
            {
                "{{model_path}}": f"max by (model_path) ({promql.series(f'{promql.WARMUP}_sum', model_path=path)} "
                f"/ {promql.series(f'{promql.WARMUP}_count', model_path=path)}) / 1e6"
            },
            "s",
            "Time that a version's warm-up requests take.",
        ),
    ]


def _memory(context: RenderContext) -> list[Panel]:
    pods = f"=~{promql.names_regex([context.objects_name])}-.*"
    used = promql.series(promql.MEMORY, pod=pods, container=_CONTAINERS)
    limit = promql.series(promql.MEMORY_LIMIT, pod=pods, container=_CONTAINERS, resource="memory")
    return [
        Panel(
            "Memory of pods",
            {"{{pod}}": f"max by (pod) ({used})", "limit": f"min({limit})"},
            "bytes",
            "Working set, from the kubelet, and the limit, from kube-state-metrics: the server exports neither.",
            width=24,
        )
    ]


def _variables(context: RenderContext) -> list[dict[str, Any]]:
    names = [model.name for model in context.models]
    everything = {"selected": True, "text": ["All"], "value": ["$__all"]}
    source: dict[str, Any] = {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}
    model: dict[str, Any] = {
        "name": "model", "label": "Model", "type": "custom", "query": ",".join(names), "multi": True, "includeAll": True,
        "current": everything, "options": [{"selected": False, "text": name, "value": name} for name in names],
    }  # fmt: skip
    if context.spec.prefers_tflite:
        return [source, model]
    query = f"label_values({promql.series(promql.LOADS, model_path=promql.model_path(_MODELS))}, model_path)"
    version: dict[str, Any] = {
        "name": "version", "label": "Version", "type": "query", "datasource": _SOURCE, "refresh": 2, "sort": 4,
        "query": {"query": query, "refId": "version"}, "regex": "/.*\\/([0-9]+)$/",
        "multi": True, "includeAll": True, "allValue": "[0-9]+", "current": everything,
    }  # fmt: skip
    return [source, model, version]


def _placed(context: RenderContext) -> Iterator[dict[str, Any]]:
    """Yield rows and panels with numbers and places, from left to right and top to bottom."""
    number = top = 0
    for row, found in panels(context).items():
        number += 1
        place = {"h": 1, "w": _COLUMNS, "x": 0, "y": top}
        yield {"id": number, "type": "row", "title": row, "collapsed": False, "panels": [], "gridPos": place}
        top, left = top + 1, 0
        for panel in found:
            if left + panel.width > _COLUMNS:
                top, left = top + _HEIGHT, 0
            number += 1
            yield _panel(panel, number, {"h": _HEIGHT, "w": panel.width, "x": left, "y": top})
            left += panel.width
        top += _HEIGHT


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    options: dict[str, dict[str, Any]] = {
        "timeseries": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi", "sort": "desc"}},
        "stat": {"reduceOptions": {"calcs": ["lastNotNull"]}, "textMode": "value_and_name", "graphMode": "none"},
        "heatmap": {"calculate": False, "yAxis": {"unit": panel.unit}, "cellGap": 1},
    }
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": _SOURCE,
        "gridPos": place,
        "targets": [
            {
                "refId": chr(ord("A") + index), "datasource": _SOURCE, "expr": query, "legendFormat": legend,
                "format": "heatmap" if panel.kind == "heatmap" else "time_series", "instant": panel.kind == "stat",
                "range": panel.kind != "stat",
            }
            for index, (legend, query) in enumerate(panel.queries.items())
        ],
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": options[panel.kind],
    }  # fmt: skip
