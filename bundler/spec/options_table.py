"""The text of docs/options.md: every key of bundle.yaml, with its flag, keyword, default and meaning."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator

from pydantic import BaseModel

from bundler.spec.against_spec import AgainstSpec
from bundler.spec.build_job_spec import BuildJobSpec
from bundler.spec.bundle_spec import DockerSpec, ModelSpec, ServingSpec, TfliteSpec
from bundler.spec.fields import SpecField
from bundler.spec.kubernetes_spec import (
    AlertsSpec,
    AutoscalingSpec,
    ClaimSpec,
    DashboardSpec,
    KubernetesSpec,
    ServiceMonitorSpec,
)
from bundler.spec.options import NOT_ON_THE_COMMAND_LINE, BuildOption, build_options
from bundler.spec.pod_spec import PodSpec, ResourcesSpec
from bundler.spec.signature_spec import (
    ClassifySpec,
    ExamplesSpec,
    ImageInputSpec,
    ImageSpec,
    MaskSpec,
    RegressSpec,
    SignatureSpec,
    TextSpec,
)

_HEAD = """\
# Options

Every option of a build is a key of bundle.yaml. Options of one model are also flags of `tfbundle build` and keywords of
`bundler.build`. The same validator checks all three. This page is written by `python -m bundler.spec` from the models in
bundler/spec; `tfbundle init --schema` prints the same as a JSON Schema.
"""
_SECTIONS: dict[type[BaseModel], tuple[str, tuple[str, ...]]] = {
    ModelSpec: ("A model: `models`", ("models",)),
    TfliteSpec: ("TFLite files: `tflite` of a model", ("models", "tflite")),
    ImageSpec: ("Preprocessing: `images` of tflite, `preprocess` of an image signature", ("models", "tflite", "images")),
    SignatureSpec: ("A signature: `signatures.NAME` of a model", ("models", "signatures")),
    ExamplesSpec: ("tf.Examples: `examples` of a signature", ("models", "signatures", "examples")),
    ImageInputSpec: ("Image files: `image` of a signature", ("models", "signatures", "image")),
    TextSpec: ("Sentences: `text` of a signature", ("models", "signatures", "text")),
    MaskSpec: ("Masks: `mask` of a signature", ("models", "signatures", "mask")),
    ClassifySpec: ("Classes: `classify` of a signature", ("models", "signatures", "classify")),
    RegressSpec: ("Numbers: `regress` of a signature", ("models", "signatures", "regress")),
    AgainstSpec: ("The version in service: `against` of a model", ("models", "against")),
    ServingSpec: ("TensorFlow Serving: `serving`", ("serving",)),
    KubernetesSpec: ("Kubernetes: `kubernetes`", ("kubernetes",)),
    PodSpec: ("Pods: `kubernetes.pod`", ("kubernetes", "pod")),
    ResourcesSpec: ("Resources of pods: `kubernetes.pod.resources`", ("kubernetes", "pod", "resources")),
    AutoscalingSpec: ("The autoscaler: `kubernetes.autoscaling`", ("kubernetes", "autoscaling")),
    ServiceMonitorSpec: ("The ServiceMonitor: `kubernetes.service_monitor`", ("kubernetes", "service_monitor")),
    AlertsSpec: ("The alerts: `kubernetes.alerts`", ("kubernetes", "alerts")),
    DashboardSpec: ("The dashboard: `kubernetes.dashboard`", ("kubernetes", "dashboard")),
    ClaimSpec: ("The volume claim: `kubernetes.claim`", ("kubernetes", "claim")),
    BuildJobSpec: ("Builds in a cluster: `kubernetes.build_job`", ("kubernetes", "build_job")),
    DockerSpec: ("Docker: `docker`", ("docker",)),
}


def options_text() -> str:
    """Return the Markdown of docs/options.md: one table per section of bundle.yaml."""
    by_path = {option.field.path: option for option in build_options()}
    tables = [_table(section, title, path, by_path) for section, (title, path) in _SECTIONS.items()]
    return "\n".join([_HEAD, *tables, *_notes()])


def _table(
    section: type[BaseModel], title: str, path: tuple[str, ...], by_path: dict[tuple[str, ...], BuildOption]
) -> str:
    fields = [SpecField((*path, name), info) for name, info in section.model_fields.items()]
    has_options = any(field.path in by_path for field in fields)
    columns = ("key", "flag", "Python", "default", "meaning") if has_options else ("key", "default", "meaning")
    lines = [f"## {title}", "", inspect.cleandoc(section.__doc__ or "").split("\n\n")[0], ""]
    lines += [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    for field in fields:
        option = by_path.get(field.path)
        names = (_code(option.flag), _code(option.keyword)) if option else ("", "")
        cells = (_code(field.name), *(names if has_options else ()), _default(field), _meaning(field))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _default(field: SpecField) -> str:
    if field.is_required:
        return f"in bundle.yaml required, else {field.option.absent}" if field.option.absent else "required"
    return "" if field.default in (None, [], {}) else _code(json.dumps(field.default).strip('"'))


def _meaning(field: SpecField) -> str:
    return f"{field.description}{field.rule}".replace("|", r"\|").replace("<", r"\<")


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def _notes() -> Iterator[str]:
    yield "## Keys without a flag\n\n| key | reason |\n|---|---|"
    yield from (f"| `{key}` | {reason} |" for key, reason in NOT_ON_THE_COMMAND_LINE.items())
    yield ""
