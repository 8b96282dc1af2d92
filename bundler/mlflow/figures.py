"""What bundle.json records about a version, as MLflow's metrics and metadata."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from bundler.bundle.manifest import Record
from bundler.bundle.reader import BundleReader
from bundler.mlflow.choice import FAST_PATH, Choice, forms, size_bytes

_REFUSED = re.compile(r"[^\w\-. /]", re.ASCII)
"""What the name of a metric must not have (mlflow/utils/validation.py)."""


def metrics(bundle: BundleReader, choice: Choice) -> dict[str, float]:
    """Return the measurements of a version by the names under which MLflow shows them.

    Names begin with the form: `saved_model/max_rel`, `tflite-float16/latency_ms`. Values that are not finite are left out,
    because MLflow's database would replace them by others.
    """
    found = {_REFUSED.sub("_", name): float(value) for name, value in _measured(bundle, choice) if value is not None}
    return {name: value for name, value in found.items() if math.isfinite(value)}


def _measured(bundle: BundleReader, choice: Choice) -> Iterator[tuple[str, float | None]]:
    record = bundle.record(choice.model, choice.version)
    for form in forms(bundle, choice.model, choice.version):
        yield f"{_shown(form, record)}/size_bytes", size_bytes(bundle, Choice(choice.model, choice.version, form=form))
    for runtime, errors in _largest_errors(record).items():
        for name, value in errors.items():
            yield f"{runtime}/{name}", value
    judged = {f"tflite-{name}": figures for name, figures in record["tflite"].items()}
    if fast := record.get("fast_path"):
        judged[FAST_PATH] = fast
    for form, figures in judged.items():
        yield from ((f"{form}/{name}", value) for name, value in _judged(figures))
    for runtime, value in ((record.get("evaluation") or {}).get("results") or {}).items():
        yield f"{runtime}/evaluation", value if isinstance(value, (int, float)) else None
    if record["stages"]:
        yield "build/seconds", sum(record["stages"].values())


def _shown(form: str, record: Record) -> str:
    return f"tflite-{form}" if form in record["tflite"] else form


def _largest_errors(record: Record) -> dict[str, dict[str, float]]:
    """Return the largest differences from PyTorch over all outputs, by runtime."""
    largest: dict[str, dict[str, float]] = {}
    for row in record["parity"]["summary"]:
        errors = largest.setdefault(row["runtime"], {})
        for name in ("max_abs", "max_rel"):
            errors[name] = max(errors.get(name, 0.0), float(row.get(name, math.inf)))
    return largest


def _judged(figures: Mapping[str, Any]) -> Iterator[tuple[str, float | None]]:
    """Yield the measurements of a .tflite file; latency is that of one thread."""
    yield "latency_ms", figures["latency_ms"].get("1")
    yield "load_ms", figures.get("load_ms")
    outputs = ((figures.get("accuracy") or {}).get("outputs") or {}).values()
    for name in ("sqnr_db", "cosine", "top1"):
        yield name, min((float(each[name]) for each in outputs if each.get(name) is not None), default=None)
    yield "metric", (figures.get("evaluation") or {}).get("value")


def metadata(bundle: BundleReader, choice: Choice) -> dict[str, Any]:
    """Return the facts of a bundle that MLmodel has under `metadata`, so that they can be read without a download."""
    record = bundle.record(choice.model, choice.version)
    labels = bundle.manifest.spec["serving"]["labels"]
    return {
        "tfbundle": {
            **choice.to_json(),
            "models": {name: bundle.versions(name) for name in bundle.models()},
            **({"labels": {name: dict(of_model) for name, of_model in labels.items()}} if labels else {}),
            "signatures": list(bundle.signatures(choice.model, choice.version)),
            "forms": {
                form: size_bytes(bundle, Choice(choice.model, choice.version, form=form))
                for form in forms(bundle, choice.model, choice.version)
            },
            "parity": {
                "reference": record["parity"].get("reference", "PyTorch"),
                "passed": record["parity"]["passed"],
                "tolerance": record["parity"]["tolerance"],
                **_largest_errors(record).get("saved_model", {}),
            },
            "tools": dict(bundle.manifest.tools),
        }
    }
