"""Check the renderings against CustomResourceDefinitions: their structure, with unknown keys as errors, and their rules in CEL.

The tests use schemas/, which lack the rules in CEL. This needs the definitions themselves, as a cluster or a release has them:

    kubectl get crd httproutes.gateway.networking.k8s.io inferenceservices.serving.kserve.io -o yaml > crds/cluster.yaml
    python -m tests.bundler.render.kubernetes.crds crds/
"""

from __future__ import annotations

import copy
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
from ruamel.yaml import YAML

from tests.bundler.render.kubernetes.cluster import Object
from tests.bundler.render.kubernetes.renderings import render_all, write_bundle


def definitions(folder: Path) -> Iterator[Object]:
    """Yield the CustomResourceDefinitions in the YAML files of a folder."""
    for path in sorted(folder.glob("*.y*ml")):
        for document in YAML(typ="safe").load_all(path.read_text("utf-8")):
            for item in (document or {}).get("items", [document]):
                if item and item.get("kind") == "CustomResourceDefinition":
                    yield item


def problems(definition: Object, objects: list[Object]) -> tuple[list[str], int, int]:
    """Return what is wrong with the objects of a definition's kind, and how many objects and rules were checked."""
    spec = definition["spec"]
    found: list[str] = []
    checked = rules = 0
    for version in spec["versions"]:
        schema = version["schema"]["openAPIV3Schema"]
        api_version = f"{spec['group']}/{version['name']}"
        validator = jsonschema.Draft202012Validator(strict({**schema, "properties": {**schema["properties"], "metadata": {}}}))
        for item in objects:
            if (item["apiVersion"], item["kind"]) == (api_version, spec["names"]["kind"]):
                name = f"{item['kind']} {item['metadata']['name']}"
                errors = [f"{name}: {error.json_path}: {error.message[:300]}" for error in validator.iter_errors(item)]
                filled = with_defaults(schema, copy.deepcopy(item))
                # Like an API server, evaluate the rules only if the types are right.
                results = [] if errors else list(evaluate(schema, filled, "$"))
                found += errors
                found += [f"{name}: {text}" for text in results if text]
                checked, rules = checked + 1, rules + len(results)
    return found, checked, rules


def strict(schema: Any) -> Any:
    """Return a structural schema of Kubernetes as a JSON Schema that knows no other keys than the listed ones."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    result = {key: strict(value) for key, value in schema.items() if key not in ("description", "format", "default")}
    if schema.get("x-kubernetes-int-or-string") is True:
        result.pop("type", None)
    if schema.get("type") == "object" and "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
        result.setdefault("additionalProperties", False)
    return result


def with_defaults(schema: Any, value: Any) -> Any:
    """Fill in the defaults of a schema, as an API server does before it evaluates the rules."""
    if isinstance(value, dict):
        for key, inner in schema.get("properties", {}).items():
            if key not in value and "default" in inner:
                value[key] = copy.deepcopy(inner["default"])
    for inner, child, _ in children(schema, value):
        with_defaults(inner, child)
    return value


def children(schema: Any, value: Any) -> Iterator[tuple[Any, Any, str]]:
    """Yield the schema, the value and the place of each key or item of a value."""
    if isinstance(value, dict):
        for key, child in value.items():
            inner = schema.get("properties", {}).get(key, schema.get("additionalProperties"))
            if isinstance(inner, dict):
                yield inner, child, f".{key}"
    elif isinstance(value, list):
        for number, child in enumerate(value):
            yield schema.get("items", {}), child, f"[{number}]"


def evaluate(schema: Any, value: Any, where: str) -> Iterator[str]:
    """Yield a line for each rule for a value and its parts: empty if the rule holds. Rules about updates are left out."""
    import cel  # common-expression-language, which needs Python 3.11

    for rule in schema.get("x-kubernetes-validations", []):
        if "oldSelf" not in rule["rule"]:
            holds = cel.evaluate(rule["rule"], {"self": value}) is True
            yield "" if holds else f"{where}: {rule.get('message', 'fails')} ({rule['rule']})"
    for inner, child, place in children(schema, value):
        yield from evaluate(inner, child, where + place)


def main(folder: Path) -> int:
    """Print what was checked, and return 1 if anything is wrong."""
    with tempfile.TemporaryDirectory() as name:
        write_bundle(Path(name))
        objects = [item for items in render_all(Path(name) / "k8s").values() for item in items]
    failed = False
    for definition in definitions(folder):
        found, checked, rules = problems(definition, objects)
        counts = f"objects: {checked}, rules in CEL: {rules}, problems: {len(found)}"
        print(f"{definition['metadata']['name']}: {counts}", *found, sep="\n  ")
        failed = failed or bool(found)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
