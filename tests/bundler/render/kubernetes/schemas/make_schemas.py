"""Make the JSON Schemas in this folder from published packages; see README.md.

    npm pack @kubernetes-models/gateway-api@2.0.0 @kubernetes-models/prometheus-operator@6.0.0
    pip download --no-deps kserve==0.21.0
    python make_schemas.py FOLDER      # the folder with the two .tgz and the .whl
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
LIMITS = {"pattern": "pattern", "minLength": "limit", "maxLength": "limit", "minimum": "limit", "maximum": "limit"}


def closure(roots: dict[str, str], define: Callable[[str], tuple[Schema, set[str]]]) -> Schema:
    """Return one document with the definitions of all types that the kinds refer to; `kinds` maps a kind to its definition."""
    defs: dict[str, Schema] = {}
    todo = list(roots.values())
    while todo:
        name = todo.pop()
        if name not in defs:
            defs[name], used = define(name)
            todo += sorted(used)
    return {"kinds": roots, "$defs": dict(sorted(defs.items()))}


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

    def define(self, name: str) -> tuple[Schema, set[str]]:
        body = self.bodies[name]
        used: set[str] = set()
        if body.startswith("= "):
            schema = self.type_of(body[2:], used)
            return {**schema, **self.limits(name)}, used
        schema = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
        for parent in self.parents[name]:
            if parent != "TypeMeta":
                inherited, more = self.define(parent)
                schema["properties"] |= inherited["properties"]
                schema["required"] += inherited["required"]
                used |= more
        for key, optional, kind in re.findall(r'^    "([^"]+)"(\??): (.*?);$(?=\n    "|\Z)', body, re.S | re.M):
            if key != "status":
                schema["properties"][key] = self.type_of(kind, used)
                schema["required"] += [] if optional else [key]
        return schema, used

    def limits(self, name: str) -> Schema:
        """Return the limits that the validator of a scalar type checks besides the type itself."""
        found: Schema = {}
        for keyword, limit in re.findall(r'keyword:"(\w+)",params:\{(.*?)\}\}', self.validators[name[1:]]):
            if keyword in LIMITS and (value := re.search(rf'{LIMITS[keyword]}:("(?:[^"\\]|\\.)*"|[-\d.e]+)', limit)):
                found[keyword] = json.loads(value[1])
        return found

    def type_of(self, text: str, used: set[str]) -> Schema:
        text = text.strip()
        if text.startswith("Array<"):
            return {"type": "array", "items": self.type_of(text[6:-1], used)}
        if text.startswith("{"):
            inner = re.search(r"\[key: string\]: (.+);", text, re.S)
            assert inner, text
            return {"type": "object", "additionalProperties": self.type_of(inner[1], used)}
        if re.match(r'["\d]', text):
            return {"enum": [json.loads(part) for part in text.split(" | ")]}
        if text in SCALARS:
            return {"type": SCALARS[text]}
        if text in self.bodies:
            used.add(text)
            return {"$ref": f"#/$defs/{text}"}
        return foreign(text)


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

    def define(self, name: str) -> tuple[Schema, set[str]]:
        node = self.classes[name]
        tables = {
            target.id: ast.literal_eval(item.value)
            for item in node.body
            if isinstance(item, ast.Assign) and isinstance(target := item.targets[0], ast.Name)
        }
        keys = tables["attribute_map"]
        used: set[str] = set()
        refused = re.findall(r"Invalid value for `(\w+)`, must not be `None`", ast.unparse(node))
        properties = {keys[k]: self.type_of(t, used) for k, t in tables["openapi_types"].items() if k != "status"}
        required = sorted({keys[key] for key in refused})
        return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}, used

    def type_of(self, text: str, used: set[str]) -> Schema:
        if found := re.fullmatch(r"list\[(.+)\]", text):
            return {"type": "array", "items": self.type_of(found[1], used)}
        if found := re.fullmatch(r"dict\(str, (.+)\)", text):
            return {"type": "object", "additionalProperties": self.type_of(found[1], used)}
        if text in SCALARS:
            return {"type": SCALARS[text]}
        if text in self.classes:
            used.add(text)
            return {"$ref": f"#/$defs/{text}"}
        if text in ("object", "IntstrIntOrString", "ResourceQuantity"):
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
    kserve = Models(next(folder.glob("kserve-*.whl")))
    routes = {kind: f"IIoK8sSigsGatewayApiApisV1{kind}" for kind in ("GRPCRoute", "HTTPRoute")}
    operator = "IComGithubPrometheusOperatorPrometheusOperatorPkgApisMonitoringV1"
    services = {"InferenceService": "V1beta1InferenceService", "ServingRuntime": "V1alpha1ServingRuntime"}
    documents = {
        "gateway-api.json": closure(routes, gateway.define),
        "service-monitor.json": closure({"ServiceMonitor": f"{operator}ServiceMonitor"}, prometheus.define),
        "kserve.json": closure(services, kserve.define),
    }
    for name, document in documents.items():
        (HERE / name).write_text(json.dumps(document, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
