"""README.md of a mobile export: each file's size, latency and accuracy, and the code that calls it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bundler.mobile.calls import arguments
from bundler.mobile.metadata import Image, preparation_steps
from bundler.mobile.model import MobileModel, MobileVariant
from bundler.mobile.tasks import IMAGE_TASKS, kinds
from bundler.mobile.web import LITERT_JS, unfit_for_web
from bundler.render.files import render_template
from bundler.render.texts import milliseconds_text, size_text
from bundler.tflite.delegates import chosen, readiness
from bundler.tflite.runtimes import requirements_of
from serving.texts import plural

if TYPE_CHECKING:
    from bundler.mobile.exported import ExportedModel

NONE = "–"


def readme(title: str, folder: Path, exported: Sequence[ExportedModel]) -> str:
    """Return the text of README.md.

    Args:
        title: name of the bundle.
        folder: the export's folder.
        exported: its models.
    """
    models = [_model(folder, model) for model in exported]
    has_files = any(model.labels for model in exported)
    unfit = [
        (model.files[variant.name], reason)
        for model in exported
        for variant in model.model.variants
        if (reason := unfit_for_web(variant))
    ]
    web = {"has_page": len(unfit) < sum(len(model.files) for model in exported), "unfit": unfit, "version": LITERT_JS}
    return render_template("mobile/README.md.j2", title=title, models=models, has_files=has_files, web=web)


def _model(folder: Path, exported: ExportedModel) -> dict[str, Any]:
    model, variants = exported.model, exported.model.variants
    names = dict.fromkeys(name for variant in variants for name in variant.operators)
    return {
        "name": model.name,
        "version": model.version,
        "source": model.source,
        "rows": [_row(folder / exported.files[v.name], v) for v in variants],
        "types_differ": len({(variant.inputs, variant.outputs) for variant in variants}) > 1,
        "inputs": arguments(variants[0].inputs, variants[0]),
        "outputs": arguments(variants[0].outputs, variants[0]),
        "steps": _steps(model),
        "labels": exported.labels,
        "mediapipe": _mediapipe(exported),
        "operators": [(name, [str(variant.operators.get(name, 0)) for variant in variants]) for name in names],
        "calls": exported.calls,
    }


def _mediapipe(exported: ExportedModel) -> dict[str, Any]:
    """Return the tasks for the model's kind of inputs, the state of each file, and whether they are tasks of images."""
    tasks = kinds(exported.model)
    rows = [(exported.files[name], [problems[task] or "ready" for task in tasks]) for name, problems in exported.tasks.items()]
    return {"tasks": tasks, "rows": rows, "are_images": tasks == IMAGE_TASKS}


def _delegated(variant: MobileVariant) -> str:
    figures = variant.delegation
    if not figures:
        return NONE
    return f"{figures['delegated']} of {figures['nodes']} nodes in {plural(figures['partitions'], 'partition')}"


def _steps(model: MobileModel) -> tuple[str, ...]:
    images = [image for spec in model.variants[0].inputs if (image := Image.of(spec))]
    return preparation_steps(model.preprocessing, images[0]) if model.preprocessing and images else ()


def _row(path: Path, variant: MobileVariant) -> dict[str, Any]:
    latencies = [milliseconds_text(variant.latency_ms[n]) if n in variant.latency_ms else NONE for n in (1, 2)]
    requirements = requirements_of(path.read_bytes())
    return {
        "file": path.name,
        "variant": variant.name,
        "size": size_text(path.stat().st_size),
        "one_thread": latencies[0],
        "two_threads": latencies[1],
        "accuracy": variant.accuracy,
        "operators": sum(variant.operators.values()),
        "load": NONE if variant.load_ms is None else milliseconds_text(variant.load_ms),
        "delegated": _delegated(variant),
        "left": ", ".join(f"{count} {name}" for name, count in variant.delegation.get("left", {}).items()),
        "runtimes": [(family, release or NONE) for family, release in requirements.minimum.items()],
        "delegates": [(each.delegate.name, f"{each.taken} of {each.nodes}") for each in readiness(path.read_bytes(), chosen([]))],
        "known_bad": [str(fault) for fault in requirements.known_bad],
        "scales": [(name, f"{scale:.9g}", zero) for name, (scale, zero) in variant.scales.items()],
    }
