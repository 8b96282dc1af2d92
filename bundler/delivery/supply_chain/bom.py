"""The bill of materials of a bundle: a CycloneDX 1.6 document with a model card for each version.

cyclonedx-python-lib makes the document and its components. Its classes have no model cards (as of 11.12), so these are added to
the JSON that it writes; tests validate the result with the library's copy of the schema.

Everything comes from bundle.json. What an older or adopted version does not record is named as unknown in a property
`tfbundle:unknown`, and nothing is filled in for it.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from bundler.bundle.layout import version_of
from bundler.bundle.manifest import FileEntry, Manifest, Record

if TYPE_CHECKING:
    from cyclonedx.model import HashType, Property
    from cyclonedx.model.component import Component

MEDIA_TYPE = "application/vnd.cyclonedx+json"
_NAMESPACE = uuid.UUID("6f1ed8c0-93c1-5b0f-8c0e-3f1f5b9a2c57")
_MODEL = "model:{}@{}"
_CLASSIFY = "classify"
"""The signature of models that answer with classes."""


def render(manifest: Manifest) -> bytes:
    """Return the bill of materials of a bundle, always the same bytes for the same bundle.json.

    Args:
        manifest: the bundle's content. The document names the sha256 of its bytes, which are those of bundle.json.
    """
    from cyclonedx.model.bom import Bom, BomMetaData
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.model.tool import ToolRepository
    from cyclonedx.output.json import JsonV1Dot6

    content = manifest.to_bytes()
    versions = [(model, number) for model in sorted(manifest.models) for number in manifest.versions(model)]
    root = Component(
        name="+".join(sorted(manifest.models)),
        type=ComponentType.DATA,
        bom_ref="bundle",
        hashes=[_sha256(hashlib.sha256(content).hexdigest())],
        description="A bundle of tfbundle; the hash is that of its bundle.json.",
    )
    tool = Component(name="tfbundle", version=manifest.tools.get("tfbundle", "unknown"), type=ComponentType.APPLICATION)
    created = max((_time(record["created"]) for record in _records(manifest)), default=None)
    bom = Bom(
        serial_number=uuid.uuid5(_NAMESPACE, hashlib.sha256(content).hexdigest()),
        metadata=BomMetaData(component=root, timestamp=created, tools=ToolRepository(components=[tool])),
    )
    packages = _packages(manifest)
    models = [_model(manifest, model, number) for model, number in versions]
    data = {component.bom_ref.value: component for record in _records(manifest) for component in _data(record)}
    generated = [_file(path, entry) for path, entry in manifest.files.items() if version_of(path) is None]
    for component in (*models, *data.values(), *packages.values(), *generated):
        bom.components.add(component)
    bom.register_dependency(root, models)
    for (model, number), component in zip(versions, models, strict=True):
        record = manifest.models[model][number]
        bom.register_dependency(component, [packages[text] for text in _purls(record)])
    document = json.loads(JsonV1Dot6(bom).output_as_string())
    cards = {_MODEL.format(model, number): _card(manifest.models[model][number]) for model, number in versions}
    for entry in document["components"]:
        if entry.get("bom-ref") in cards:
            entry["modelCard"] = cards[entry["bom-ref"]]
    return (json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def _records(manifest: Manifest) -> Iterator[Record]:
    for versions in manifest.models.values():
        yield from versions.values()


def _time(text: str) -> datetime:
    """Return a time of bundle.json, whose schema takes any form of ISO 8601."""
    from pydantic import TypeAdapter

    time = TypeAdapter(datetime).validate_python(text)
    return time if time.tzinfo else time.replace(tzinfo=timezone.utc)


def _sha256(digest: str) -> HashType:
    from cyclonedx.model import HashAlgorithm, HashType

    return HashType(alg=HashAlgorithm.SHA_256, content=digest)


def _properties(facts: Mapping[str, object]) -> list[Property]:
    from cyclonedx.model import Property

    return [Property(name=f"tfbundle:{name}", value=str(value)) for name, value in facts.items() if value not in (None, "")]


def _file(path: str, entry: FileEntry) -> Component:
    from cyclonedx.model.component import Component, ComponentType

    return Component(
        name=path, type=ComponentType.FILE, bom_ref=f"file:{path}", hashes=[_sha256(entry.sha256)],
        properties=_properties({"size": entry.size}),
    )  # fmt: skip


def _model(manifest: Manifest, model: str, number: int) -> Component:
    from cyclonedx.model.component import Component, ComponentType

    record = manifest.models[model][number]
    source = {f"source:{key}": value for key, value in record["source"].items() if isinstance(value, (str, int, float))}
    return Component(
        name=model,
        version=str(number),
        type=ComponentType.MACHINE_LEARNING_MODEL,
        bom_ref=_MODEL.format(model, number),
        components=[_file(path, entry) for path, entry in manifest.files.items() if version_of(path) == (model, number)],
        properties=_properties({**source, "unknown": unknown(record)}),
    )


def unknown(record: Record) -> str | None:
    """Return what the record of a version does not tell, as a sentence; None if it has all facts."""
    if record.get("adopted"):
        return "The version was adopted, so its build, packages, data and source are not known."
    if not record.get("build"):
        return "The version was built by a tfbundle that did not record packages, parameters and times."
    return None


def _purls(record: Record) -> list[str]:
    packages = record.get("build", {}).get("packages", {})
    return [purl(name, version) for name, version in sorted(packages.items())]


def purl(name: str, version: str) -> str:
    """Return the package URL of a package of PyPI (github.com/package-url/purl-spec)."""
    return f"pkg:pypi/{name}@{quote(version, safe='')}"


def _packages(manifest: Manifest) -> dict[str, Component]:
    """Return the packages of all versions' builds, by package URL."""
    from cyclonedx.model.component import Component, ComponentType
    from packageurl import PackageURL

    found = {}
    for record in _records(manifest):
        for text in _purls(record):
            url = PackageURL.from_string(text)
            found[text] = Component(name=url.name, version=url.version, type=ComponentType.LIBRARY, purl=url, bom_ref=text)
    return found


def datasets(record: Record) -> Iterator[tuple[str, str, Record]]:
    """Yield (use, source, facts) of the calibration and evaluation data of a version, each once."""
    judged = [*record["tflite"].values(), *record.get("tflite_refused", {}).values()]
    judged += [record[key] for key in ("fast_path", "fast_path_refused", "precision", "mixed_precision") if record.get(key)]
    seen = set()
    for form in judged:
        calibration, evaluation = form.get("calibration") or {}, form.get("evaluation") or {}
        rows = (("calibration", calibration.get("source"), calibration), ("evaluation", evaluation.get("function"), evaluation))
        for use, source, facts in rows:
            key = (use, source, facts.get("sha256") or facts.get("inputs_sha256"))
            if source and key not in seen:
                seen.add(key)
                yield use, source, facts
    if record.get("evaluation"):
        names = record["evaluation"]["data"]
        for name in [names] if isinstance(names, str) else names:
            yield "evaluation", name, {}


def _data_ref(use: str, source: str, facts: Record) -> str:
    digest = facts.get("sha256") or facts.get("inputs_sha256") or "unknown"
    return f"data:{use}:{source}:{digest[:16]}"


def _data(record: Record) -> Iterator[Component]:
    from cyclonedx.model.component import Component, ComponentType

    for use, source, facts in datasets(record):
        is_one_file = facts.get("files") == 1 and ":" not in source
        properties = {
            "use": use,
            "arrays_sha256": facts.get("sha256") or facts.get("inputs_sha256"),
            "files": facts.get("files"),
            "files_sha256": facts.get("files_sha256"),
            "samples": facts.get("samples"),
            "unknown": None if facts.get("sha256") or facts.get("inputs_sha256") else "No hash of the data was recorded.",
        }
        yield Component(
            name=source,
            type=ComponentType.DATA,
            bom_ref=_data_ref(use, source, facts),
            hashes=[_sha256(facts["files_sha256"])] if is_one_file else [],
            properties=_properties(properties),
        )


def _card(record: Record) -> dict[str, Any]:
    """Return the model card of a version: inputs, outputs, task and data, and what was measured."""
    signature = record["signatures"].get("serving_default") or next(iter(record["signatures"].values()))
    parameters: dict[str, Any] = {
        "inputs": [{"format": _tensor(tensor)} for tensor in signature["inputs"]],
        "outputs": [{"format": _tensor(tensor)} for tensor in signature["outputs"]],
    }
    if _CLASSIFY in record["signatures"]:
        parameters["task"] = "classification"
    if record["source"].get("class"):
        parameters["modelArchitecture"] = str(record["source"]["class"])
    if references := [{"ref": _data_ref(*row)} for row in datasets(record)]:
        parameters["datasets"] = references
    card: dict[str, Any] = {"modelParameters": parameters}
    if metrics := [*_parity(record), *_measured(record)]:
        card["quantitativeAnalysis"] = {"performanceMetrics": metrics}
    facts = [{"name": f"tfbundle:graph:{key}", "value": str(record["graph"][key])} for key in ("nodes", "weight_bytes")]
    return card | {"properties": facts}


def _tensor(tensor: Mapping[str, Any]) -> str:
    dims = ", ".join("?" if dim is None else str(dim) for dim in tensor["dims"])
    return f"{tensor['name']}: {tensor['dtype']}[{dims}]"


def _parity(record: Record) -> Iterator[dict[str, str]]:
    reference = record["parity"].get("reference", "PyTorch")
    for row in record["parity"]["summary"]:
        where = f"{row['runtime']}, {row['signature']}, output {row['output']}, {row['draws']} draws"
        for kind in ("max_abs", "max_rel"):
            if kind in row:
                yield _metric(f"parity with {reference}: {kind}", row[kind], f"{where}, {row['verdict']}")


def _measured(record: Record) -> Iterator[dict[str, str]]:
    forms = {f"TFLite {name}": form for name, form in record["tflite"].items()}
    forms |= {name: record[key] for name, key in (("model.tflite", "fast_path"), ("bfloat16", "precision")) if record.get(key)}
    reference, reported = record["parity"].get("reference", "PyTorch"), set[str]()
    for name, form in forms.items():
        for output, figures in ((form.get("accuracy") or {}).get("outputs") or {}).items():
            for kind in ("sqnr_db", "cosine", "top1"):
                if figures.get(kind) is not None:
                    yield _metric(f"agreement with {reference}: {kind}", figures[kind], f"{name}, output {output}")
        if evaluation := form.get("evaluation"):
            if evaluation["function"] not in reported:
                reported.add(evaluation["function"])
                yield _metric(evaluation["function"], evaluation["pytorch"], reference)
            yield _metric(evaluation["function"], evaluation["value"], name)
    if evaluation := record.get("evaluation"):
        data = [evaluation["data"]] if isinstance(evaluation["data"], str) else evaluation["data"]
        for runtime, row in evaluation["results"].items():
            for name, value in zip(data, row if isinstance(row, list) else [row], strict=True):
                yield _metric(evaluation["metric"], value, f"{runtime}, {name}")


def _metric(kind: str, value: object, where: str) -> dict[str, str]:
    return {"type": kind, "value": str(value), "slice": where}


def hashes_of(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (name, sha256) of the bundle.json and every file that a bill of materials of tfbundle speaks of.

    Raises:
        ValueError: the document is not a CycloneDX one, or lacks a part that tfbundle writes.
    """
    try:
        if document["bomFormat"] != "CycloneDX":
            raise ValueError("it is not a CycloneDX document")
        yield "bundle.json", _recorded(document["metadata"]["component"])
        for component in document.get("components", ()):
            for part in (component, *component.get("components", ())):
                if part["type"] == "file":
                    yield part["name"], _recorded(part)
    except (KeyError, TypeError, AttributeError, IndexError) as exc:
        raise ValueError(f"it lacks {exc}") from exc


def _recorded(component: Mapping[str, Any]) -> str:
    hashes: Iterable[Mapping[str, str]] = component["hashes"]
    return next(entry["content"] for entry in hashes if entry["alg"] == "SHA-256")
