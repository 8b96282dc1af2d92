"""The provenance of a version: SLSA provenance v1 (slsa.dev/spec/v1.0/provenance) in an in-toto statement.

Each version has a statement of its own, because each was made by a build of its own. Its subjects are the version's files, so it
stays valid when later builds add versions. in-toto-attestation, the reference implementation, makes the statement.

What bundle.json does not record about an older or adopted version is left out, and the builder says so (`UNRECORDED`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from bundler.bundle.layout import version_of
from bundler.bundle.manifest import Manifest, Record
from bundler.delivery.supply_chain.bom import datasets, purl, unknown

MEDIA_TYPE = "application/vnd.in-toto+json"
PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
_STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
_PAGE = "https://github.com/tfbundle/tfbundle/blob/main/docs/how-to/supply-chain.md"
BUILD_TYPE = f"{_PAGE}#build-type-v1"
LOCAL = f"{_PAGE}#local-builder"
"""The builder of a build outside a CI that tfbundle knows: a person's machine, or another CI."""
UNRECORDED = f"{_PAGE}#unrecorded-builder"
"""The builder of a version whose build is not recorded."""


def render(manifest: Manifest, model: str, version: int) -> bytes:
    """Return the provenance of a version, always the same bytes for the same record of it.

    Args:
        manifest: the bundle's content.
        model: name of the model.
        version: number of the version.
    """
    from google.protobuf.json_format import MessageToDict
    from in_toto_attestation.v1.resource_descriptor import ResourceDescriptor
    from in_toto_attestation.v1.statement import Statement

    record = manifest.models[model][version]
    subjects = [
        ResourceDescriptor(name=path, digest={"sha256": sha256}).pb for path, sha256 in _files(manifest, model, version)
    ]
    predicate = {
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": _parameters(record, model, version),
            "internalParameters": _internal(record),
            "resolvedDependencies": list(_dependencies(record)),
        },
        "runDetails": {"builder": _builder(record), "metadata": _metadata(record)},
    }
    statement = Statement(subjects, PREDICATE_TYPE, predicate)
    statement.validate()
    document = MessageToDict(statement.pb) | {"predicate": predicate}  # protobuf would make floats of its integers
    return (json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def _files(manifest: Manifest, model: str, version: int) -> Iterator[tuple[str, str]]:
    for path, entry in sorted(manifest.files.items()):
        if version_of(path) == (model, version):
            yield path, entry.sha256


def _parameters(record: Record, model: str, version: int) -> dict[str, Any]:
    """Return what the user of the build chose."""
    build = record.get("build") or {}
    known = {"parameters": build["parameters"]} if build else {}
    return {"model": model, "version": str(version), **known}


def _internal(record: Record) -> dict[str, Any]:
    """Return what tfbundle chose, and a sentence about what is not known."""
    missing = unknown(record)
    facts = {"converter": record["converter"], "layout": record["layout"], "opset": record["opset"]}
    return {**facts, **({"unknown": missing} if missing else {})}


def _dependencies(record: Record) -> Iterator[dict[str, Any]]:
    """Yield what the build read: the commit, the model's files, the data, the packages."""
    build = record.get("build") or {}
    builder = build.get("builder") or {}
    if builder.get("repository") and builder.get("commit"):
        ref = f"@{builder['ref']}" if builder.get("ref") else ""
        yield {"uri": f"git+{builder['repository']}{ref}", "digest": {"gitCommit": builder["commit"]}}
    yield from _sources(record["source"])
    for use, source, facts in datasets(record):
        # The file itself has a digest that anybody can check; of a folder or function, that is the digest of the arrays.
        is_one_file = facts.get("files") == 1 and ":" not in source
        sha256 = facts["files_sha256"] if is_one_file else facts.get("sha256") or facts.get("inputs_sha256")
        known = {"digest": {"sha256": sha256}} if sha256 else {}
        yield {"name": source, "annotations": {"use": use}, **known}
    for name, version in sorted(build.get("packages", {}).items()):
        yield {"uri": purl(name, version)}


def _sources(value: object, name: str = "source") -> Iterator[dict[str, Any]]:
    """Yield the files below a record of a model's source that have a sha256."""
    if isinstance(value, Mapping):
        if isinstance(value.get("sha256"), str):
            title = next((value[key] for key in ("file", "path", "name", "source") if isinstance(value.get(key), str)), name)
            yield {"name": title, "digest": {"sha256": value["sha256"]}, "annotations": {"use": "source"}}
        for key, item in sorted(value.items()):
            yield from _sources(item, str(key))
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _sources(item, name)


def _builder(record: Record) -> dict[str, Any]:
    build = record.get("build")
    if not build:
        return {"id": UNRECORDED}
    tools = {name: build["packages"][name] for name in ("tfbundle", "tensorflow", "torch") if name in build["packages"]}
    return {"id": (build.get("builder") or {}).get("id", LOCAL), **({"version": tools} if tools else {})}


def _metadata(record: Record) -> dict[str, Any]:
    build = record.get("build") or {}
    if not build:
        return {} if record.get("adopted") else {"finishedOn": _utc(record["created"])}
    invocation = (build.get("builder") or {}).get("invocation")
    times = {"startedOn": _utc(build["started"]), "finishedOn": _utc(record["created"])}
    return {**({"invocationId": invocation} if invocation else {}), **times}


def _utc(time: str) -> str:
    """Return a time as RFC 3339 writes it in UTC, which SLSA asks for."""
    return time.replace("+00:00", "Z")


def subjects_of(statement: Mapping[str, Any]) -> dict[str, str]:
    """Return the sha256 of each file that a statement of provenance speaks of, by path.

    Raises:
        ValueError: the document is not a statement of SLSA provenance.
    """
    try:
        if (statement["_type"], statement["predicateType"]) != (_STATEMENT_TYPE, PREDICATE_TYPE):
            raise ValueError("it is not an in-toto statement of SLSA provenance v1")
        return {subject["name"]: subject["digest"]["sha256"] for subject in statement["subject"]}
    except (KeyError, TypeError, AttributeError) as exc:
        raise ValueError(f"it lacks {exc}") from exc
