"""components/alerts and components/dashboard, and their copies in the Helm chart, which reads no file outside of its folder."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from bundler.render import RenderContext, RenderedModel
from bundler.render.files import write_text
from bundler.render.kubernetes import alerts
from bundler.render.kubernetes.dashboard import dashboard
from bundler.render.kubernetes.tree import EXAMPLE, TREE, Edit, rename, unchanged

FILES = tuple(
    f"components/{path}"
    for path in (
        "alerts/kustomization.yaml", "alerts/prometheusrule.yaml", "alerts/rules.yaml", "dashboard/kustomization.yaml",
        "dashboard/dashboard.json",
    )
)  # fmt: skip
"""Files of the components, which are written only with monitoring."""


def files(context: RenderContext) -> dict[str, str]:
    """Return path and text of the rules and the dashboard in the components; none without monitoring."""
    if not context.spec.serving.monitoring:
        return {}
    rules = {f"components/alerts/{name}": text for name, text in alerts.files(context).items()}
    return rules | {"components/dashboard/dashboard.json": dashboard(context)}


def chart_files(context: RenderContext) -> dict[str, str]:
    """Return path and text of the chart's copies, also without monitoring, which a value of the chart can switch on."""
    return {"chart/files/rules.yaml": alerts.rules_file(context), "chart/files/dashboard.json": dashboard(context)}


def edits(context: RenderContext) -> dict[str, Edit]:
    """Return the edit of each kustomization, by path."""
    if not context.spec.serving.monitoring:
        return {}
    return {
        "components/alerts/kustomization.yaml": unchanged,
        "components/dashboard/kustomization.yaml": partial(_dashboard, context),
    }


def values(context: RenderContext) -> dict[str, Any]:
    """Return the chart's values."""
    settings = context.spec.kubernetes
    return {
        "alerts": {"labels": dict(settings.alerts.labels)},
        "dashboard": {"labels": dict(settings.dashboard.labels), "annotations": dict(settings.dashboard.annotations)},
    }


def _dashboard(context: RenderContext, document: Any) -> None:
    rename(context, document)
    settings = context.spec.kubernetes.dashboard
    generator = document["configMapGenerator"][0]
    generator["files"][0] = f"{context.objects_name}.json=dashboard.json"
    options = generator["options"]
    options["labels"] = dict(settings.labels)
    if settings.annotations:
        options["annotations"] = dict(settings.annotations)


def write_example(tree: Path = TREE) -> list[Path]:
    """Write the files of the shipped tree's example bundle under `tree`, and return their paths."""
    from bundler.spec.bundle_spec import parse_spec

    context = RenderContext(EXAMPLE, parse_spec({}, where=EXAMPLE), (RenderedModel(EXAMPLE, (1,), 1),))
    texts = files(context) | chart_files(context)
    return [write_text(tree / path, text) for path, text in texts.items()]
