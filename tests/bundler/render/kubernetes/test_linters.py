"""Linters that strangers run: no finding besides those in accepted.py, and each of those still occurs."""

from __future__ import annotations

import copy
import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from kubernetes_validate import utils

from tests.bundler.render.kubernetes import custom, linters
from tests.bundler.render.kubernetes.accepted import ACCEPTED, PROPERTY, SETTLED, Finding, problems
from tests.bundler.render.kubernetes.cluster import VERSIONS, assert_valid, assert_valid_for
from tests.bundler.render.kubernetes.renderings import Renderings, predictors, render_all, render_settled, write_bundle

SCHEMAS = Path(custom.__file__).parent / "schemas"
Record = Callable[[str, object], None]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("linted")
    write_bundle(folder)
    return folder


@pytest.fixture(scope="module")
def renderings(bundle: Path) -> Renderings:
    return render_all(bundle / "k8s")


def assert_only_accepted(linter: str, ran: tuple[list[Finding], str], record: Record) -> None:
    """Fail with each finding that is not accepted, or accepted in vain; record that the linter ran."""
    findings, line = ran
    if found := problems(linter, findings):
        pytest.fail("\n".join(found), pytrace=False)
    record(PROPERTY, line)


@pytest.mark.slow
def test_checkov(renderings: Renderings, bundle: Path, tmp_path: Path, record_property: Record) -> None:
    settled = render_settled(tmp_path / "settled")
    (tmp_path / "input").mkdir()
    ran = linters.checkov({**renderings, **settled}, bundle / "docker", tmp_path / "input")
    assert_only_accepted("checkov", ran, record_property)


def test_hadolint(bundle: Path, record_property: Record) -> None:
    files = [bundle / "docker" / name for name in ("Dockerfile", "Dockerfile.models")]
    assert_only_accepted("hadolint", linters.hadolint(files), record_property)


def test_helm_lint(bundle: Path, record_property: Record) -> None:
    assert_only_accepted("helm lint", linters.helm_lint(bundle / "k8s" / "chart"), record_property)


def test_compose_schema(bundle: Path, record_property: Record) -> None:
    assert_only_accepted("compose-spec", linters.compose_schema(bundle / "docker" / "compose.yaml"), record_property)


def test_custom_resources_of_all_releases(renderings: Renderings, record_property: Record) -> None:
    objects = [item for items in renderings.values() for item in items if custom.releases(item["apiVersion"])]
    assert {item["kind"] for item in objects} == {
        "HTTPRoute", "PrometheusRule", "ServiceMonitor", "InferenceService", "ServingRuntime",
    }  # fmt: skip
    assert_valid(objects)
    for name, span in custom.spans().items():
        record_property(PROPERTY, f"{name} {span}")


def test_kubernetes_own_objects_of_all_versions(renderings: Renderings, record_property: Record) -> None:
    objects = [item for items in renderings.values() for item in items if not custom.releases(item["apiVersion"])]
    assert_valid([*objects, *predictors(renderings["kserve"])])
    record_property(PROPERTY, f"kubernetes-validate {VERSIONS[0]} to {VERSIONS[-1]} ({len(objects)} objects)")


SPOILED = [
    ("HTTPRoute", ("rules", 0, "name"), "rest", "1.3", "1.4"),
    ("HTTPRoute", ("rules", 0, "retry"), {"attempts": 2}, "1.6", None),
    ("HTTPRoute", ("rules", 0, "filters"), [{"type": "CORS", "cors": {"maxAge": 5}}], "1.4", "1.5"),
    ("HTTPRoute", ("hostnames",), ["example.com"] * 17, "1.6", None),
    ("HTTPRoute", ("rules", 0, "backendRefs", 0, "port"), 70000, "1.2", None),
    ("ServiceMonitor", ("endpoints", 0, "scheme"), "gopher", "0.91", None),
    ("InferenceService", ("predictor", "storageUris"), [], "0.15", "0.16"),
    ("InferenceService", ("predictor", "model", "modelFormats"), {}, "0.21", None),
    ("ServingRuntime", ("workerSpec",), {}, "0.13", "0.14"),
]
"""A kind, where to put which value in its spec, a release that refuses it, and one that accepts it."""


@pytest.mark.parametrize(("kind", "place", "value", "refused", "accepted"), SPOILED, ids=lambda value: str(value)[:40])
def test_schemas_tell_releases_apart(
    kind: str, place: tuple[str | int, ...], value: object, refused: str, accepted: str | None, renderings: Renderings
) -> None:
    objects = [*renderings["kserve"], *renderings["kustomize, all, no source"]]
    spoiled = copy.deepcopy(next(item for item in objects if item["kind"] == kind))
    inner = spoiled["spec"]
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = value
    with pytest.raises(AssertionError, match=rf"{place[-1]}|{place[0]}"):
        assert_valid_for(json.dumps(spoiled), VERSIONS[-1], refused)
    if accepted:
        assert_valid_for(json.dumps(spoiled), VERSIONS[-1], accepted)


@pytest.mark.parametrize("file", sorted(set(custom.FILES.values())))
def test_all_types_that_a_schema_refers_to_exist(file: str) -> None:
    text = (SCHEMAS / file).read_text("utf-8")
    name = "_definitions.json"
    kubernetes = utils.schema_contents(f"kubernetes-json-schema/v{VERSIONS[-1]}.0-local-strict/{name}", VERSIONS[-1])["$defs"]
    own = json.loads(text)["$defs"]
    references = re.findall(rf'"(/api/{name})?#/\$defs/([^"]+)"', text)
    assert references and not [type_ for outside, type_ in references if type_ not in (kubernetes if outside else own)]


def test_findings_are_compared_strictly_with_the_list() -> None:
    icon = Finding("helm lint", "icon is recommended", "Chart.yaml", "icon is recommended", "chart")
    assert problems("helm lint", [icon]) == []
    (gone,) = problems("helm lint", [])
    assert gone == "helm lint icon is recommended Chart.yaml: accepted, but no longer found; remove it from accepted.py"
    other = dataclasses.replace(icon, where="charts/other/Chart.yaml")
    (new,) = problems("helm lint", [icon, other])
    assert new == "helm lint icon is recommended charts/other/Chart.yaml: icon is recommended (chart)"
    row = next(row for row in ACCEPTED if row.avoidable)
    finding = Finding(row.linter, row.check, "Deployment/demo", "", "kserve")
    assert row.covers(finding) and not row.covers(dataclasses.replace(finding, rendering=f"{SETTLED}, kserve"))
