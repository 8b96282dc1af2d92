"""Linters that strangers run: no finding besides those in accepted.py, and each of those still occurs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bundler.render.kubernetes import linters
from tests.bundler.render.kubernetes.accepted import ACCEPTED, PROPERTY, Finding, problems
from tests.bundler.render.kubernetes.renderings import Renderings, render_all, write_bundle

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
    assert not problems(linter, findings), "\n" + "\n".join(problems(linter, findings))
    record(PROPERTY, line)


def test_checkov(renderings: Renderings, bundle: Path, tmp_path: Path, record_property: Record) -> None:
    assert_only_accepted("checkov", linters.checkov(renderings, bundle / "docker", tmp_path), record_property)


def test_hadolint(bundle: Path, record_property: Record) -> None:
    files = [bundle / "docker" / name for name in ("Dockerfile", "Dockerfile.models")]
    assert_only_accepted("hadolint", linters.hadolint(files), record_property)


def test_helm_lint(bundle: Path, record_property: Record) -> None:
    assert_only_accepted("helm lint", linters.helm_lint(bundle / "k8s" / "chart"), record_property)


def test_compose_schema(bundle: Path, record_property: Record) -> None:
    assert_only_accepted("compose-spec", linters.compose_schema(bundle / "docker" / "compose.yaml"), record_property)
