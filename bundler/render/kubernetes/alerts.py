"""Alert rules for Prometheus: the same groups as a PrometheusRule of the operator, and as a plain file of rules."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bundler.render import RenderContext
from bundler.render.files import write_yaml
from bundler.render.kubernetes import promql

_WINDOW = "5m"
_HEAD = "# Written by tfbundle. The thresholds are those of kubernetes.alerts in bundle.yaml.\n"
_PLAIN = "# For a Prometheus without the operator: list this file in rule_files of its configuration.\n"


@dataclass(frozen=True)
class Alert:
    """An alert.

    Attributes:
        name: its name.
        expression: PromQL that gives a series for what is wrong.
        minutes: how long it has to be wrong.
        severity: `critical` wakes someone up, `warning` does not.
        summary: what is wrong, in one sentence.
        runbook: what to do.
        model: the model that it is about, if the expression does not keep the label `model_name`.
    """

    name: str
    expression: str
    minutes: int
    severity: str
    summary: str
    runbook: str
    model: str = ""

    def rule(self, bundle: str) -> dict[str, Any]:
        """Return the rule as Prometheus reads it."""
        return {
            "alert": self.name,
            "expr": self.expression,
            "for": f"{self.minutes}m",
            "labels": {"severity": self.severity, "bundle": bundle} | ({"model_name": self.model} if self.model else {}),
            "annotations": {"summary": self.summary, "runbook": self.runbook},
        }


def alerts(context: RenderContext) -> list[Alert]:
    """Return the alerts of a bundle: those of batching only if it is on, those of loads only if SavedModels are served."""
    found = [*_requests(context)]
    # TensorFlow counts the loads of SavedModels, and TensorFlow Serving none of TFLite files.
    if not context.spec.prefers_tflite:
        found = [*_loads(context), *found]
    return [*found, *_batching(context)] if context.spec.serving.batching else found


def files(context: RenderContext) -> dict[str, str]:
    """Return path and text of the files of components/alerts, except for the kustomization."""
    metadata: dict[str, Any] = {"name": context.objects_name}
    if labels := context.spec.kubernetes.alerts.labels:
        metadata["labels"] = dict(labels)
    resource = {"apiVersion": "monitoring.coreos.com/v1", "kind": "PrometheusRule", "metadata": metadata}
    return {
        "prometheusrule.yaml": _HEAD + write_yaml({**resource, "spec": _groups(context)}),
        "rules.yaml": rules_file(context),
    }


def rules_file(context: RenderContext) -> str:
    """Return the rules as a file that Prometheus reads."""
    return _HEAD + _PLAIN + write_yaml(_groups(context))


def _groups(context: RenderContext) -> dict[str, Any]:
    return {"groups": [{"name": f"tfbundle-{context.objects_name}", "rules": rules(context)}]}


def rules(context: RenderContext) -> list[dict[str, Any]]:
    """Return the rules as Prometheus reads them."""
    return [alert.rule(context.objects_name) for alert in alerts(context)]


def _models(context: RenderContext) -> str:
    return promql.names_regex(model.name for model in context.models)


def _loads(context: RenderContext) -> Iterator[Alert]:
    for model in context.models:
        path = promql.model_path(promql.names_regex([model.name]))
        yield Alert(
            "TfServingModelMissing",
            f"absent(count({promql.series(promql.LOADS, model_path=path, status='success')}))",
            max(context.spec.kubernetes.alerts.minutes // 2, 1),
            "critical",
            f"No server of the bundle {context.objects_name} reports the model {model.name} as loaded.",
            "See whether pods run and are ready (kubectl get pods). `tfbundle smoke --bundle DIR HOST:PORT` says which models "
            "answer, and `tfbundle verify DIR` whether the bundle's files are whole; the server's log says why a load failed.",
            model=model.name,
        )
    failed = promql.series(promql.LOADS, model_path=promql.model_path(_models(context)), status="!=success")
    yield Alert(
        "TfServingLoadFailed",
        f"{failed} > ({failed} offset 15m or {failed} * 0)",
        1,
        "warning",
        "{{ $labels.instance }} could not load {{ $labels.model_path }}.",
        "The earlier version serves on. `tfbundle verify DIR` checks the files, `tfbundle inspect DIR` shows the version; "
        "`tfbundle promote DIR --label stable --rollback` points the label at the version before.",
    )


def _requests(context: RenderContext) -> Iterator[Alert]:
    settings = context.spec.kubernetes.alerts
    models = f"=~{_models(context)}"
    by = ("namespace", "model_name")
    faults = promql.per_second(promql.series(promql.REQUESTS, model_name=models, status=f"=~{promql.FAULTS}"), _WINDOW, *by)
    yield Alert(
        "TfServingErrors",
        f"100 * {faults} / {promql.per_second(promql.series(promql.REQUESTS, model_name=models), _WINDOW, *by)} "
        f"> {settings.error_percent:g}",
        settings.minutes,
        "critical",
        '{{ $value | printf "%.1f" }} % of the requests to {{ $labels.model_name }} fail by the server\'s fault.',
        "The dashboard shows the statuses. `tfbundle smoke --bundle DIR HOST:PORT` sends known requests. If it began with a new "
        "version, `tfbundle promote DIR --label stable --rollback` undoes it.",
    )
    slow = promql.quantile(0.99, promql.series(f"{promql.LATENCY}_bucket", model_name=models), _WINDOW, *by)
    yield Alert(
        "TfServingSlow",
        f"1000 * {slow} > {settings.latency_milliseconds:g}",
        settings.minutes,
        "warning",
        'One request in a hundred to {{ $labels.model_name }} takes longer than {{ $value | printf "%.0f" }} ms.',
        "Compare latency and run time of the model on the dashboard: a short run means that requests wait for a thread. "
        "`tfbundle bench --bundle DIR HOST:PORT` measures its settings, `tfbundle bench --bundle DIR --advise` finds better.",
    )


def _batching(context: RenderContext) -> Iterator[Alert]:
    settings = context.spec.kubernetes.alerts
    models = _models(context)
    yield Alert(
        "TfServingQueueSlow",
        f"1000 * {promql.queue_quantile(0.95, _WINDOW, models, 'namespace')} > {settings.queue_milliseconds:g}",
        settings.minutes,
        "warning",
        'One request in twenty waits longer than {{ $value | printf "%.0f" }} ms to be batched.',
        "Add pods or CPU if the batches are full (dashboard, rows per batch). Otherwise lower serving.batch_timeout_micros "
        "in bundle.yaml and run `tfbundle render DIR`; `tfbundle bench --bundle DIR --advise` measures which timeout is best.",
    )
    full = promql.per_second(
        promql.series(promql.REQUESTS, model_name=f"=~{models}", status="UNAVAILABLE"), _WINDOW, "namespace", "model_name"
    )
    yield Alert(
        "TfServingQueueFull",
        f"{full} > 0",
        max(settings.minutes // 2, 1),
        "warning",
        "Requests to {{ $labels.model_name }} are refused because the queue is full.",
        "More arrives than the servers compute. Add pods (kubernetes.replicas and kubernetes.max_replicas in bundle.yaml, then "
        "`tfbundle render DIR`), or find out with `tfbundle bench --bundle DIR --advise` whether other batches give more.",
    )
