"""Make the JSON Schemas in this folder from published packages; see README.md.

    npm pack @kubernetes-models/gateway-api@2.0.0 @kubernetes-models/prometheus-operator@6.0.0
    for release in 0.11.2 0.12.1 0.13.1 0.14.1 0.15.2 0.16.0 0.17.1 0.18.1 0.19.0 0.20.0 0.21.0; do
      pip download --no-deps --ignore-requires-python kserve==$release
    done
    python make_schemas.py FOLDER      # the folder with the two .tgz and the .whl

`releases` in a document lists the releases that it describes, oldest first. A key of an object has a schema from each release
that changed it, or null from the release that removed it; `required` likewise has true or false.
"""

from __future__ import annotations

import ast
import json
import re
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
KUBERNETES = "/api/_definitions.json#/$defs/"
META = "io.k8s.apimachinery.pkg.apis.meta.v1"
Schema = dict[str, Any]

OPAQUE: dict[str, Schema] = {
    "IntOrString": {"type": ["integer", "string"]},
    "Quantity": {"type": ["integer", "number", "string"]},
}
SCALARS = {"string": "string", "number": "number", "boolean": "boolean", "str": "string", "int": "integer",
           "float": "number", "bool": "boolean"}  # fmt: skip
LIMITS = {
    "pattern": "pattern", "minLength": "limit", "maxLength": "limit", "minimum": "limit", "maximum": "limit",
    "minItems": "limit", "maxItems": "limit", "minProperties": "limit", "maxProperties": "limit",
}  # fmt: skip

GATEWAY_RELEASES = ("1.2", "1.3", "1.4", "1.5", "1.6")
HTTP_FILTERS = (
    "RequestHeaderModifier", "ResponseHeaderModifier", "RequestMirror", "RequestRedirect", "URLRewrite", "ExtensionRef",
)  # fmt: skip
STANDARD_SINCE: dict[str, str | None] = {
    "CommonRouteSpec.useDefaultGateways": None,
    "GRPCRouteRule.name": "1.4",
    "GRPCRouteRule.sessionPersistence": None,
    "GRPCRouteSpec.useDefaultGateways": None,
    "HTTPRequestMirrorFilter.fraction": "1.3",
    "HTTPRequestMirrorFilter.percent": "1.3",
    "HTTPRouteFilter.cors": "1.5",
    "HTTPRouteFilter.externalAuth": None,
    "HTTPRouteRule.name": "1.4",
    "HTTPRouteRule.retry": None,
    "HTTPRouteRule.sessionPersistence": None,
    "HTTPRouteSpec.useDefaultGateways": None,
}
"""Keys that the standard channel of Gateway API 1.2 lacks, with the release that brought them; None: only the experimental
channel has them. The package does not tell channels apart. Source: the API reference and the release notes of each release.
"""

STANDARD_LIMITS: dict[str, dict[str, Schema]] = {
    "GRPCRouteFilter.type": {
        "1.2": {"enum": ["RequestHeaderModifier", "ResponseHeaderModifier", "RequestMirror", "ExtensionRef"]},
    },
    "GRPCRouteRule.matches": {"1.2": {"maxItems": 8}, "1.3": {"maxItems": 64}},
    "HTTPPathModifier.type": {"1.2": {"enum": ["ReplaceFullPath", "ReplacePrefixMatch"]}},
    "HTTPRequestRedirectFilter.statusCode": {"1.2": {"enum": [301, 302]}, "1.5": {"enum": [301, 302, 303, 307, 308]}},
    "HTTPRouteFilter.type": {
        "1.2": {"enum": [*HTTP_FILTERS]},
        "1.5": {"enum": [*HTTP_FILTERS, "CORS"]},
    },
}
"""Limits that the package lacks or that have changed, from the release that has them. Source: as above."""


def closure(roots: dict[str, str], define: Callable[[str], Schema]) -> Schema:
    """Return one document with the definitions of all types that the kinds refer to; `kinds` maps a kind to its definition."""
    defs: dict[str, Schema] = {}
    todo = list(roots.values())
    while todo:
        name = todo.pop()
        if name not in defs:
            defs[name] = define(name)
            todo += sorted(set(re.findall(r'"#/\$defs/([^"]+)"', json.dumps(defs[name]))))
    return {"kinds": roots, "$defs": dict(sorted(defs.items()))}


def history(documents: dict[str, Schema]) -> Schema:
    """Return one document for several releases, oldest first, in which each key has the releases that changed it."""
    defs: dict[str, Schema] = {}
    for release, document in documents.items():
        for name, schema in document["$defs"].items():
            if "properties" in schema:
                defs.setdefault(name, {"properties": {}, "required": {}})
            else:
                assert defs.setdefault(name, schema) == schema, name
        for name in [name for name, entry in defs.items() if "properties" in entry]:
            schema = document["$defs"].get(name, {"properties": {}, "required": []})
            _note(defs[name]["properties"], schema["properties"], release, None)
            _note(defs[name]["required"], dict.fromkeys(schema["required"], True), release, False)
    newest = list(documents.values())[-1]
    return {"kinds": newest["kinds"], "releases": list(documents), "$defs": dict(sorted(defs.items()))}


def _note(noted: dict[str, dict[str, Any]], values: dict[str, Any], release: str, absent: object) -> None:
    """Add the values of a release that differ from those of the release before."""
    for key in sorted({*noted, *values}):
        entry = noted.setdefault(key, {})
        value = values.get(key, absent)
        if value != (list(entry.values())[-1] if entry else absent):
            entry[release] = value


def standard(schema: Schema, name: str, release: str) -> Schema:
    """Return a definition as the standard channel of a release of Gateway API has it."""
    if "properties" not in schema:
        return schema
    so_far = GATEWAY_RELEASES[: GATEWAY_RELEASES.index(release) + 1]
    properties = {}
    for key, value in schema["properties"].items():
        place = f"{name.partition('ApisV1')[2]}.{key}"
        if STANDARD_SINCE.get(place, so_far[0]) in so_far:
            limits = STANDARD_LIMITS.get(place, {})
            properties[key] = value | next((limits[past] for past in reversed(so_far) if past in limits), {})
    return {**schema, "properties": properties}


# npm: declarations of TypeScript, and ajv's compiled validators


class Declarations:
    """The interfaces and aliases in a package of @kubernetes-models."""

    def __init__(self, archive: Path) -> None:
        with tarfile.open(archive) as tar:
            names = [m.name for m in tar.getmembers() if re.search(r"(\.d\.ts|/_schemas/\w+\.js)$", m.name)]
            texts = {n: tar.extractfile(n).read().decode() for n in names}  # type: ignore[union-attr]
        self.validators = {Path(n).stem: t for n, t in texts.items() if "/_schemas/" in n and n.endswith(".js")}
        self.bodies: dict[str, str] = {}
        self.parents: dict[str, list[str]] = {}
        for name, text in texts.items():
            if "/_schemas/" not in name:
                self._read(re.sub(r"\n *(?=\n)", "", re.sub(r"/\*.*?\*/", "", text, flags=re.S)))

    def _read(self, text: str) -> None:
        alias = re.search(r"export type \{ (\w+) as (I\w+),", text)
        if alias is None:
            return
        short, full = alias.groups()
        if found := re.search(rf"export interface {short}(?: extends ([^{{]+))? \{{(.*?)\n\}}", text, re.S):
            self.parents[full] = [p.strip() for p in (found[1] or "").split(",") if p.strip()]
            self.bodies[full] = found[2]
        elif found := re.search(rf"export type {short} = (.+?);\n", text, re.S):
            self.bodies[full] = f"= {found[1]}"

    def define(self, name: str) -> Schema:
        body = self.bodies[name]
        if body.startswith("= "):
            return {**self.type_of(body[2:]), **self.limits(name)}
        schema = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
        limits = self.limits_of_keys(name)
        for parent in self.parents[name]:
            if parent != "TypeMeta":
                inherited = self.define(parent)
                schema["properties"] |= inherited["properties"]
                schema["required"] += inherited["required"]
        for key, optional, kind in re.findall(r'^    "([^"]+)"(\??): (.*?);$(?=\n    "|\Z)', body, re.S | re.M):
            if key != "status":
                schema["properties"][key] = merged(self.type_of(kind), limits.get(key, {}))
                schema["required"] += [] if optional else [key]
        return schema

    def limits(self, name: str) -> Schema:
        """Return the limits that the validator of a scalar type checks besides the type itself."""
        bodies, root = functions(self.validators[name[1:]])
        return limits_in(bodies, root)

    def limits_of_keys(self, name: str) -> dict[str, Schema]:
        """Return the limits of an object's keys, each of which has a function in the object's validator."""
        bodies, root = functions(self.validators[name[1:]])
        return {key: limits_in(bodies, number) for number, key in re.findall(r"validate(\d+)\(data\.(\w+),", bodies[root])}

    def type_of(self, text: str) -> Schema:
        text = text.strip()
        if text.startswith("Array<"):
            return {"type": "array", "items": self.type_of(text[6:-1])}
        if text.startswith("{"):
            inner = re.search(r"\[key: string\]: (.+);", text, re.S)
            assert inner, text
            return {"type": "object", "additionalProperties": self.type_of(inner[1])}
        if re.match(r'["\d]', text):
            return {"enum": [json.loads(part) for part in text.split(" | ")]}
        if text in SCALARS:
            return {"type": SCALARS[text]}
        if text in self.bodies:
            return {"$ref": f"#/$defs/{text}"}
        return foreign(text)


def functions(text: str) -> tuple[dict[str, str], str]:
    """Return the functions of a validator by number, and the number of the exported one."""
    parts = re.split(r"function validate(\d+)\(data,", text)
    exported = re.search(r"export const validate=validate(\d+)", text)
    assert exported
    return dict(zip(parts[1::2], parts[2::2], strict=True)), exported[1]


def limits_in(bodies: dict[str, str], number: str) -> Schema:
    """Return the limits that a function of a validator checks, and those of the items if it checks a list."""
    found: Schema = {}
    body = bodies.get(number, "")
    for keyword, limit in re.findall(r'keyword:"(\w+)",params:\{(.*?)\}\}', body):
        if keyword in LIMITS and (value := re.search(rf'{LIMITS[keyword]}:("(?:[^"\\]|\\.)*"|[-\d.e]+)', limit)):
            found[keyword] = json.loads(value[1])
    if 'params:{type:"integer"}' in body:
        found["type"] = "integer"
    if (items := re.search(r"validate(\d+)\(data\[i0\],", body)) and (inner := limits_in(bodies, items[1])):
        found["items"] = inner
    return found


def merged(schema: Schema, limits: Schema) -> Schema:
    """Return a schema with limits beside its type."""
    items = {"items": merged(schema["items"], limits["items"])} if "items" in limits and "items" in schema else {}
    return {**schema, **{key: value for key, value in limits.items() if key != "items"}, **items}


def foreign(name: str) -> Schema:
    """Return the schema of one of Kubernetes' own types, given its name in @kubernetes-models."""
    for opaque, schema in OPAQUE.items():
        if name.endswith(opaque):
            return schema
    if found := re.fullmatch(r"IIoK8sApimachineryPkgApisMetaV1(\w+)", name):
        return {"$ref": f"{KUBERNETES}{META}.{found[1]}"}
    if found := re.fullmatch(r"IIoK8sApi(Core|Autoscaling)(V\d)(\w+)", name):
        return {"$ref": f"{KUBERNETES}io.k8s.api.{found[1].lower()}.{found[2].lower()}.{found[3]}"}
    raise ValueError(f"no schema for the type {name}")


# PyPI: the classes of an OpenAPI generator


class Models:
    """The classes of kserve.models: openapi_types, attribute_map, and setters that reject None."""

    def __init__(self, archive: Path) -> None:
        self.classes: dict[str, ast.ClassDef] = {}
        with zipfile.ZipFile(archive) as wheel:
            for name in wheel.namelist():
                if re.fullmatch(r"kserve/models/\w+\.py", name):
                    tree = ast.parse(wheel.read(name).decode())
                    self.classes |= {n.name: n for n in tree.body if isinstance(n, ast.ClassDef)}

    def define(self, name: str) -> Schema:
        node = self.classes[name]
        tables = {
            target.id: ast.literal_eval(item.value)
            for item in node.body
            if isinstance(item, ast.Assign) and isinstance(target := item.targets[0], ast.Name)
        }
        keys = tables["attribute_map"]
        refused = re.findall(r"Invalid value for `(\w+)`, must not be `None`", ast.unparse(node))
        properties = {keys[k]: self.type_of(t) for k, t in tables["openapi_types"].items() if k != "status"}
        required = sorted({keys[key] for key in refused})
        return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}

    def type_of(self, text: str) -> Schema:
        if found := re.fullmatch(r"list\[(.+)\]", text):
            return {"type": "array", "items": self.type_of(found[1])}
        if found := re.fullmatch(r"dict\(str, (.+)\)", text):
            return {"type": "object", "additionalProperties": self.type_of(found[1])}
        if text in SCALARS:
            return {"type": SCALARS[text]}
        if text in self.classes:
            return {"$ref": f"#/$defs/{text}"}
        # The wheels refer to some of KServe's own types without containing them.
        if text in ("object", "IntstrIntOrString", "ResourceQuantity") or re.match(r"V\d(alpha|beta)", text):
            return {}
        if text in ("V1ObjectMeta", "V1LabelSelector"):
            return {"$ref": f"{KUBERNETES}{META}.{text[2:]}"}
        if found := re.fullmatch(r"K8sIoApi(Apps|Core|Autoscaling)(V\d)(\w+)", text):
            return {"$ref": f"{KUBERNETES}io.k8s.api.{found[1].lower()}.{found[2].lower()}.{found[3]}"}
        if found := re.fullmatch(r"(V\d)(\w+)", text):
            group = "autoscaling" if found[1] == "V2" or "Autoscal" in text else "core"
            return {"$ref": f"{KUBERNETES}io.k8s.api.{group}.{found[1].lower()}.{found[2]}"}
        raise ValueError(f"no schema for the type {text}")


def main(folder: Path) -> None:
    gateway = Declarations(next(folder.glob("kubernetes-models-gateway-api-2*.tgz")))
    prometheus = Declarations(next(folder.glob("kubernetes-models-prometheus-operator-6*.tgz")))
    wheels = {tuple(map(int, path.name.split("-")[1].split(".")[:2])): path for path in folder.glob("kserve-*.whl")}
    kinds = {kind: f"IIoK8sSigsGatewayApiApisV1{kind}" for kind in ("GRPCRoute", "HTTPRoute")}
    routes = {
        release: closure(kinds, lambda name, release=release: standard(gateway.define(name), name, release))
        for release in GATEWAY_RELEASES
    }
    operator = "IComGithubPrometheusOperatorPrometheusOperatorPkgApisMonitoringV1"
    monitor = closure({kind: f"{operator}{kind}" for kind in ("PrometheusRule", "ServiceMonitor")}, prometheus.define)
    services = {"InferenceService": "V1beta1InferenceService", "ServingRuntime": "V1alpha1ServingRuntime"}
    releases = {f"{x}.{y}": closure(services, Models(path).define) for (x, y), path in sorted(wheels.items())}
    documents = {
        "gateway-api.json": history(routes),
        "prometheus-operator.json": history({"0.91": monitor}),
        "kserve.json": history(releases),
    }
    for name, document in documents.items():
        (HERE / name).write_text(json.dumps(document, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
