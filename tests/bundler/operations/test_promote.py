"""Labels: promotion and rollback, that build and render keep them, and that a running server is updated."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock
from typer.testing import CliRunner, Result

import bundler
from bundler.cli.app import app
from bundler.errors import PublishError, SpecError, UsageError
from bundler.operations.promote import promote, rollback
from bundler.render.parts import rerender
from bundler.spec.bundle_spec import parse_spec
from bundler.validation.bundle import Bundle
from serving import Client
from serving.config.model_server import ModelServerConfig, ServedModel
from serving.errors import RequestError
from serving.launch import BinaryRunner, launched
from serving.server.models.states import wait_until
from tests.bundler.cli.test_serve import free_port, serving, wait


@pytest.fixture(scope="session")
def three(tmp_path_factory: pytest.TempPathFactory, mlp_onnx: Path) -> Path:
    """A bundle with versions 1 to 3 of `mlp`. Tests must not change it, only a copy."""
    out = tmp_path_factory.mktemp("dist") / "three"
    for _ in range(3):
        bundler.build(mlp_onnx, out=out)
    return out


@pytest.fixture
def bundle(three: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(three, tmp_path / "three"))


def served(bundle: Path) -> ServedModel:
    return ModelServerConfig.from_text((bundle / "serving" / "models.config").read_text()).models[0]


def run(bundle: Path, *arguments: object) -> Result:
    return CliRunner().invoke(app, ["promote", str(bundle), *map(str, arguments)])


def flags(bundle: Path) -> str:
    return (bundle / "docker" / "Dockerfile").read_text()


@pytest.mark.slow
def test_every_config_has_the_label_and_serves_its_version(bundle: Path) -> None:
    assert "allow_version_labels" not in flags(bundle)
    done = promote(bundle, None, "stable", 1)
    assert (done.model, done.before, done.version, done.versions) == ("mlp", None, 1, (1, 3))
    promote(bundle, "mlp", "canary", 3)
    model = served(bundle)
    assert model.labels == {"stable": 1, "canary": 3}
    assert model.served([1, 2, 3]) == (1, 3)
    assert "--allow_version_labels_for_unavailable_models=true" in flags(bundle)
    configs = [p.read_text() for p in (bundle / "k8s").rglob("*") if p.is_file() and "version_labels" in p.read_text()]
    assert configs
    assert [p for p in Bundle.open(bundle).verify(parity=False) if p.serious] == []


@pytest.mark.slow
def test_each_rollback_undoes_one_promotion(bundle: Path) -> None:
    for version in (1, 2, 3):
        promote(bundle, "mlp", "stable", version)
    promote(bundle, "mlp", "canary", 3)
    assert [rollback(bundle, "mlp", "stable").version for _ in range(2)] == [2, 1]
    promote(bundle, "mlp", "stable", 3)
    assert [rollback(bundle, "mlp", "stable").version for _ in range(2)] == [1, None]
    assert served(bundle).labels == {"canary": 3}
    with pytest.raises(UsageError, match="never promoted, or all its promotions are rolled back"):
        rollback(bundle, "mlp", "stable")
    history = Bundle.open(bundle).manifest.promotions
    assert [(e["kind"], e["before"], e["version"]) for e in history if e["label"] == "stable"] == [
        ("promote", None, 1), ("promote", 1, 2), ("promote", 2, 3), ("rollback", 3, 2), ("rollback", 2, 1),
        ("promote", 1, 3), ("rollback", 3, 1), ("rollback", 1, None),
    ]  # fmt: skip


def test_promoting_to_the_current_version_changes_nothing(bundle: Path) -> None:
    promote(bundle, "mlp", "stable", 2)
    before = (bundle / "bundle.json").read_bytes()
    assert promote(bundle, "mlp", "stable", 2).published is None
    assert (bundle / "bundle.json").read_bytes() == before


@pytest.mark.slow
def test_build_and_render_keep_labels(bundle: Path, mlp_onnx: Path) -> None:
    promote(bundle, "mlp", "stable", 2)
    bundler.build(mlp_onnx, out=bundle)
    assert served(bundle).labels == {"stable": 2}
    assert served(bundle).served([1, 2, 3, 4]) == (2, 4)
    rerender(bundle, ("serving",))
    assert served(bundle).labels == {"stable": 2}
    settings = parse_spec({"serving": {"rest_port": 9501, "labels": {"mlp": {"stable": 1, "old": 1}}}}, where="test")
    published = rerender(bundle, ("serving",), settings)
    assert served(bundle).labels == {"stable": 2, "old": 1}
    expected = "label 'stable' of model 'mlp' stays at version 2, to which it was promoted"
    assert any(expected in notice for notice in published.notices)
    assert len(Bundle.open(bundle).manifest.promotions) == 1


def test_chosen_versions_are_still_served_after_a_promotion(bundle: Path) -> None:
    rerender(bundle, ("serving",), parse_spec({"serving": {"versions": {"mlp": [1]}}}, where="test"))
    promote(bundle, "mlp", "stable", 2)
    assert served(bundle).served([1, 2, 3]) == (1, 2)
    rerender(bundle, ("serving",), parse_spec({"serving": {"rest_port": 9501}}, where="test"))
    assert served(bundle).served([1, 2, 3]) == (1, 2)


def test_invalid_promotions_are_rejected(bundle: Path) -> None:
    with pytest.raises(UsageError, match="no version 7") as caught:
        promote(bundle, "mlp", "stable", 7)
    assert caught.value.fix == "choose one of: 1, 2, 3"
    with pytest.raises(UsageError, match="no model 'nope'"):
        promote(bundle, "nope", "stable", 1)
    for label in ("a/b", "stable\n"):
        with pytest.raises(UsageError, match="cannot be a label"):
            promote(bundle, "mlp", label, 1)
    promote(bundle, "mlp", "canary", 2)
    promote(bundle, "mlp", "canary", 3)
    shutil.rmtree(bundle / "models" / "mlp" / "2")
    with pytest.raises(UsageError, match="pointed to version 2, which no longer exists"):
        rollback(bundle, "mlp", "canary")


def test_a_locked_bundle_or_a_failure_leaves_the_bundle_unchanged(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {p: p.read_bytes() for p in bundle.rglob("*") if p.is_file()}
    with FileLock(bundle / ".lock"), pytest.raises(PublishError, match="Another build is writing"):
        promote(bundle, "mlp", "stable", 1)

    def fail(*_: object) -> None:
        raise SpecError("no")

    monkeypatch.setattr("bundler.render.parts.render_parts", fail)
    with pytest.raises(SpecError):
        promote(bundle, "mlp", "stable", 1)
    assert {p: p.read_bytes() for p in bundle.rglob("*") if p.is_file()} == before


def test_the_command_promotes_rolls_back_and_lists_labels(bundle: Path) -> None:
    assert "No version has a label" in run(bundle).output
    result = run(bundle, "--label", "stable", "--version", 1)
    assert result.exit_code == 0, result.output
    assert "mlp: stable points to version 1 (before: none); served versions: 1, 3" in result.output
    shown = json.loads(run(bundle, "--label", "stable", "--version", 2, "--json").stdout)
    assert (shown["before"], shown["version"], shown["changed"]) == (1, 2, True)
    assert "points to version 1" in run(bundle, "--label", "stable", "--rollback").output
    listed = run(bundle).output
    assert [line.split()[1:] for line in listed.splitlines()[4:]] == [
        ["promote", "mlp", "stable", "none", "1"],
        ["promote", "mlp", "stable", "1", "2"],
        ["rollback", "mlp", "stable", "2", "1"],
    ]
    assert json.loads(run(bundle, "--json").stdout)["labels"] == {"mlp": {"stable": 1}}
    for wrong, words in (
        (["--label", "stable"], "Which version should 'stable' point to?"),
        (["--rollback"], "Which label"),
        (["--label", "stable", "--version", 9], "one of: 1, 2, 3"),
        (["--label", "stable", "--version", 3, "--server", "http://localhost:1"], "is a REST port"),
    ):
        result = run(bundle, *wrong)
        assert (result.exit_code, words in result.output) == (2, True), result.output
    result = run(bundle, "--label", "stable", "--version", 3, "--server", "localhost:9")
    assert result.exit_code == 1
    assert "Cannot connect to localhost:9" in result.output
    assert served(bundle).labels == {"stable": 1}


@pytest.fixture
def server(bundle: Path) -> Iterator[int]:
    """The embedded server on the bundle; its gRPC port."""
    with serving(bundle) as (child, grpc, _):
        wait(grpc, 3)
        yield grpc
        child.send_signal(signal.SIGTERM)
        child.communicate(timeout=60)


def test_a_running_server_loads_a_version_before_its_label_moves(bundle: Path, server: int) -> None:
    to = f"127.0.0.1:{server}"

    def labelled(label: str) -> int:
        with Client(to) as client:
            return client.metadata("mlp", label=label).version

    assert run(bundle, "--label", "stable", "--version", 1, "--server", to).exit_code == 0
    assert labelled("stable") == 1
    result = run(bundle, "--label", "canary", "--version", 3, "--server", to)
    assert f"{to} serves it." in result.output
    assert (labelled("stable"), labelled("canary")) == (1, 3)
    assert run(bundle, "--label", "stable", "--version", 2, "--server", to).exit_code == 0
    assert labelled("stable") == 2
    with Client(to) as client:
        assert {s.version for s in client.status("mlp") if s.available} >= {2, 3}
    assert run(bundle, "--label", "stable", "--rollback", "--server", to).exit_code == 0
    assert labelled("stable") == 1

    # If a version does not load, the label moves neither in the bundle nor in the server.
    with Client(to) as client:
        assert wait_until(lambda: not client.status("mlp", version=2)[0].available, seconds=20)
    os.truncate(bundle / "models" / "mlp" / "2" / "saved_model.pb", 100)
    result = run(bundle, "--label", "stable", "--version", 2, "--server", to)
    assert result.exit_code == 1
    assert "could not be loaded" in result.output
    assert labelled("stable") == 1
    assert served(bundle).labels == {"stable": 1, "canary": 3}

    # A wrong models folder is rejected, and the server keeps serving.
    result = run(bundle, "--label", "stable", "--version", 3, "--server", to, "--models-dir", "relative")
    assert result.exit_code == 2
    assert labelled("stable") == 1


@pytest.mark.slow
def test_a_starting_server_accepts_the_labels_with_the_generated_flags(bundle: Path, tmp_path: Path) -> None:
    from bundler.operations.launch import deployment
    from bundler.render.parts import render_context
    from tests.serving.launch.executables import model_server

    promote(bundle, "mlp", "stable", 1)
    opened = Bundle.open(bundle)
    context = render_context(opened.name, opened.manifest)
    to = deployment(opened, context, host="127.0.0.1", grpc_port=free_port(), rest_port=free_port())
    assert to.versions == {"mlp": (1, 3)}
    runner = BinaryRunner(to, str(model_server(tmp_path)))
    with launched(runner, to, timeout=90, log=print), Client(to.grpc_target) as client:
        assert client.metadata("mlp", label="stable").version == 1
        with pytest.raises(RequestError, match="Unrecognized servable version label: canary"):
            client.metadata("mlp", label="canary")
        command = ["promote", str(bundle), "--label", "canary", "--version", "2", "--server", to.grpc_target]
        done = subprocess.run(
            [sys.executable, "-m", "bundler", *command, "--models-dir", f"{bundle}/models"],
            capture_output=True, text=True, timeout=90, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert client.metadata("mlp", label="canary").version == 2
