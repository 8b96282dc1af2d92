"""tfbundle render: with an edited bundle.yaml, again without a change, and in part."""

from __future__ import annotations

import json
from pathlib import Path

from bundler.validation.bundle import Bundle
from tests.bundler.cli.commands import run


def test_render_again_with_an_edited_bundle_yaml(copy: Path, tmp_path: Path) -> None:
    (copy / "serving" / "README.md").write_text("mine")
    spec = tmp_path / "bundle.yaml"
    spec.write_text("serving: {rest_port: 9501, grpc_port: 9500}\nkubernetes: {replicas: 3}\n")
    result = run("render", copy, "--spec", spec)
    assert "README.md.orig" in result.stderr
    assert (copy / "serving" / "README.md.orig").read_text() == "mine"
    assert "9501" in (copy / "docker" / "compose.yaml").read_text()
    bundle = Bundle.open(copy)
    assert bundle.manifest.spec["kubernetes"]["replicas"] == 3
    assert [p for p in bundle.verify(parity=False) if p.serious] == []


def test_render_twice_changes_nothing_and_keeps_a_users_overlay(copy: Path) -> None:
    run("render", copy)
    own = copy / "k8s" / "overlays" / "staging" / "kustomization.yaml"
    own.parent.mkdir()
    own.write_text("resources: [../../base]\ncomponents: [../../components/gpu]\n")
    values = copy / "k8s" / "chart" / "values-staging.yaml"
    values.write_text("replicas: 4\n")
    parts = ("k8s", "docker", "serving", "smoke")
    before = {path: path.read_bytes() for part in parts for path in (copy / part).rglob("*") if path.is_file()}
    assert {own, values} <= set(before)
    assert run("render", copy).stderr == ""
    after = {path: path.read_bytes() for part in parts for path in (copy / part).rglob("*") if path.is_file()}
    assert after == before


def test_render_one_part_leaves_the_others(copy: Path) -> None:
    (copy / "k8s" / "README.md").write_text("mine")
    assert json.loads(run("render", copy, "docker", "--json").stdout)["rendered"] == ["docker"]
    assert (copy / "k8s" / "README.md").read_text() == "mine"
    assert "Unknown part 'helm'" in run("render", copy, "helm", code=2).stderr
    assert "is not a bundle" in run("render", copy / "models", code=1).stderr
