"""Push and pull against docker-registry, looked at with skopeo and umoci."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bundler.bundle.manifest import FileEntry, Manifest
from bundler.bundle.reader import BundleReader
from bundler.delivery.oci.referrers import subject_of
from bundler.delivery.oci.registry import Registry
from bundler.process.cache import CACHE_ENV
from bundler.values.addresses import OciAddress
from tests.bundler.cli.commands import run
from tests.hidden import extras_modules, run_without
from tests.registries import RunningRegistry, registry
from tests.requirements import skopeo, umoci


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRegistry]:
    with registry(tmp_path_factory.mktemp("registry")) as each:
        yield each


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_ENV, str(tmp_path / "cache"))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))


@pytest.fixture
def bundle(small_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small_bundle, tmp_path / "small"))


def push(*arguments: object) -> Any:
    return json.loads(run("push", *arguments, "--insecure", "--json").stdout)


def pull(*arguments: object, code: int = 0) -> Any:
    return json.loads(run("pull", *arguments, "--insecure", "--json", code=code).stdout)


def inspect(running: RunningRegistry, reference: str, *more: str) -> Any:
    command = [skopeo(), "inspect", *more, "--tls-verify=false", f"docker://{running.host}/{reference}"]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


def next_version(root: Path, change: bytes) -> None:
    """Add version 2 to a bundle: version 1 with a changed graph, golden data and all."""
    manifest = Manifest.read(root / "bundle.json")
    old = [name for name in manifest.files if name.startswith("models/mlp/1/")]
    files = dict(manifest.files)
    for name in old:
        new = name.replace("models/mlp/1/", "models/mlp/2/")
        (root / new).parent.mkdir(parents=True, exist_ok=True)
        (root / new).write_bytes((root / name).read_bytes() + (change if name.endswith(".pb") else b""))
        files[new] = FileEntry.of(root / new)
    manifest = replace(manifest.with_version("mlp", 2, manifest.models["mlp"][1]), files=files)
    (root / "bundle.json").write_bytes(manifest.to_bytes())


def test_one_tag_is_the_image_for_runtimes_and_the_bundle_for_a_pull(
    running: RunningRegistry, bundle: Path, tmp_path: Path
) -> None:
    pushed = push(bundle, running.address("team/mlp:1"))
    facts = inspect(running, "team/mlp:1")
    assert (facts["Os"], facts["Architecture"], facts["Digest"]) == ("linux", "amd64", pushed["digest"])
    assert sorted(facts["RepoTags"]) == ["1", "1-bundle", "1-models"] and len(facts["Layers"]) == 1
    index = inspect(running, "team/mlp:1", "--raw")
    assert [row["digest"] for row in index["manifests"]] == [pushed["image"]["digest"], pushed["artifact"]["digest"]]
    assert index["manifests"][1]["artifactType"] == "application/vnd.tfbundle.bundle.v1"
    (layer,) = inspect(running, "team/mlp:1-models", "--raw")["layers"]
    assert layer["annotations"]["org.opencontainers.image.title"] == "models/mlp/1"
    assert layer["annotations"]["io.deis.oras.content.unpack"] == "true"
    layout = tmp_path / "layout"
    for reference in ("team/mlp:1", "team/mlp:1-models"):
        name = f"oci:{layout}:{reference[-1]}"
        command = [skopeo(), "copy", "-q", "--src-tls-verify=false", f"docker://{running.host}/{reference}", name]
        subprocess.run(command, check=True)
        target = tmp_path / f"unpacked-{reference[-1]}"
        unpack = [umoci(), "unpack", "--rootless", "--image", f"{layout}:{reference[-1]}", str(target)]
        subprocess.run(unpack, check=True, capture_output=True)
        assert [path.name for path in (target / "rootfs").iterdir()] == ["models"]
        files = BundleReader.open(bundle).manifest.files
        for file in (file for file in files if file.startswith("models/")):
            assert FileEntry.of(target / "rootfs" / file) == files[file]
    pulled = pull(running.address("team/mlp:1"), "-o", tmp_path / "out")
    assert pulled["digest"] == pushed["artifact"]["digest"] and pulled["changed"]
    assert "is intact" in run("verify", tmp_path / "out", "--no-parity").stdout


def test_artifact_has_typed_layers_that_the_oras_command_line_can_unpack(running: RunningRegistry, bundle: Path) -> None:
    push(bundle, running.address("team/types:1"))
    manifest = inspect(running, "team/types:1-bundle", "--raw")
    assert manifest["artifactType"] == "application/vnd.tfbundle.bundle.v1"
    assert manifest["annotations"]["org.opencontainers.image.title"] == "mlp"
    created = BundleReader.open(bundle).record("mlp")["created"]
    assert manifest["annotations"]["org.opencontainers.image.created"] == created
    layers = {row["annotations"]["org.opencontainers.image.title"]: row for row in manifest["layers"]}
    assert next(iter(layers)) == "bundle.json" and len(layers) == len(manifest["layers"])
    parts = {title: row["annotations"]["vnd.tfbundle.part"] for title, row in layers.items()}
    assert parts["models/mlp/1"] == "models" and parts["golden/mlp/1.npz"] == "golden" and parts["k8s"] == "generated"
    assert layers["tflite/mlp/1/mlp-float32.tflite"]["mediaType"] == "application/vnd.tfbundle.tflite.v1"
    unpacked = [title for title, row in layers.items() if "io.deis.oras.content.unpack" in row["annotations"]]
    assert all(layers[title]["mediaType"].endswith(".tar+gzip") for title in unpacked) and "models/mlp/1" in unpacked
    config = Registry.at(OciAddress(running.host, "team/types"), insecure=True)
    summary = json.loads(config.read_bytes(_descriptor(manifest["config"])))
    assert summary["models"]["mlp"]["1"]["signatures"] and summary["schema"] == "tfbundle/1"


def _descriptor(row: Any) -> Any:
    from bundler.delivery.oci.descriptors import Descriptor

    return Descriptor.from_json(row, where="config")


def test_unchanged_bundle_sends_no_byte_and_a_new_version_its_own_layer(
    running: RunningRegistry, bundle: Path, tmp_path: Path
) -> None:
    first = push(bundle, running.address("team/again:1"))
    assert first["bytes"]["pushed"] > 0
    copy = Path(shutil.copytree(bundle, tmp_path / "copy"))
    again = push(copy, running.address("team/again:1"))
    assert (again["digest"], again["bytes"]["pushed"]) == (first["digest"], 0)
    next_version(copy, b"")
    other = push(copy, running.address("team/again:2"), "--only", "models")
    layers = inspect(running, "team/again:2")["Layers"]
    assert layers[0] == inspect(running, "team/again:1")["Layers"][0] and len(layers) == 2
    files = Manifest.read(copy / "bundle.json").files
    size = sum(entry.size for name, entry in files.items() if name.startswith("models/mlp/2/"))
    assert size < other["bytes"]["pushed"] < size + 10_000


def test_models_or_bundle_alone_get_the_tag_itself(running: RunningRegistry, bundle: Path, tmp_path: Path) -> None:
    models = push(bundle, running.address("team/models:1"), "--only", "models")
    assert inspect(running, "team/models:1")["RepoTags"] == ["1"] and models["artifact"] is None
    failed = pull(running.address("team/models:1"), "-o", tmp_path / "out", code=1)
    assert failed["code"] == "TFB9009" and "is an image and not a bundle" in failed["error"]
    alone = push(bundle, running.address("team/alone:1"), "--only", "bundle")
    assert alone["image"] is None and pull(running.address("team/alone:1"), "-o", tmp_path / "out")["digest"] == alone["digest"]


@pytest.mark.slow
def test_pinned_manifests_name_the_image_by_its_digest(running: RunningRegistry, bundle: Path, tmp_path: Path) -> None:
    address = running.address("team/pin:1")
    pushed = push(bundle, address, "--pin")
    image = f"{running.host}/team/pin:1@{pushed['image']['digest']}"
    pull(address, "-o", tmp_path / "out")
    for root in (bundle, tmp_path / "out"):
        assert BundleReader.open(root).manifest.spec["kubernetes"]["volume_image"] == image
        assert any(image in path.read_text() for path in (root / "k8s").rglob("*.yaml"))
    again = push(bundle, address, "--pin")
    assert (again["digest"], again["bytes"]["pushed"]) == (pushed["digest"], 0)


def test_attachments_of_a_tag_hang_on_the_artifact(running: RunningRegistry, bundle: Path) -> None:
    pushed = push(bundle, running.address("team/subject:1"))
    repository = Registry.at(OciAddress(running.host, "team/subject"), insecure=True)
    for reference in ("1", "1-bundle"):
        subject = subject_of(repository, OciAddress(running.host, "team/subject", reference))
        assert subject.descriptor.digest == pushed["artifact"]["digest"]


@pytest.mark.slow
def test_copy_by_skopeo_is_still_a_bundle(running: RunningRegistry, bundle: Path, tmp_path: Path) -> None:
    pushed = push(bundle, running.address("team/source:1"))
    for source, target in (("docker://{}/team/source:1", "oci:{}:1"), ("oci:{}:1", "docker://{}/team/copied:1")):
        names = [name.format(running.host if name.startswith("docker") else tmp_path / "layout") for name in (source, target)]
        command = [skopeo(), "copy", "-q", "--all", "--src-tls-verify=false", "--dest-tls-verify=false", *names]
        subprocess.run(command, check=True)
    pulled = pull(running.address("team/copied:1"), "-o", tmp_path / "out")
    assert pulled["digest"] == pushed["artifact"]["digest"]


def test_output_for_people_says_what_was_sent_and_what_to_do_next(
    running: RunningRegistry, bundle: Path, tmp_path: Path
) -> None:
    result = run("push", bundle, running.address("team/text:1"), "--insecure")
    assert "models/mlp/1: pushed, " in result.stderr and "Pushed oci://" in result.stdout
    assert "Next: tfbundle pull oci://" in result.stdout
    again = run("push", bundle, running.address("team/text:1"), "--insecure")
    assert "0 B pushed, " in again.stdout and "there already" in again.stdout and not again.stderr
    target = tmp_path / "out"
    pulled = run("pull", running.address("team/text:1"), "-o", target, "--insecure")
    assert f"Pulled {target}: " in pulled.stdout and f"tfbundle verify {target}" in pulled.stdout
    assert "has this bundle already" in run("pull", running.address("team/text:1"), "-o", target, "--insecure").stdout


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("oci://localhost:1/a",), "TFB9001"),
        ((f"oci://localhost:1/a:1@sha256:{'0' * 64}",), "TFB9001"),
        (("oci://registry.example.com/a:1", "--insecure"), "TFB9002"),
        (("oci://localhost:1/a:1", "--only", "bundle", "--pin"), "TFB1001"),
        (("oci://localhost:1/a:1", "--only", "bundle", "--base", "a/b"), "TFB1001"),
        (("oci://localhost:1/a:1", "--platform", "amd64"), "TFB9013"),
        (("oci://localhost:1/a:1", "--base", "busybox"), "TFB9001"),
    ],
)
def test_wrong_options_are_told(bundle: Path, arguments: tuple[str, ...], code: str) -> None:
    failed = run("push", bundle, *arguments, "--json", code=2)
    assert json.loads(failed.stdout)["code"] == code


def test_missing_extra_is_told() -> None:
    code = """
import json, sys
from pathlib import Path
from bundler.errors import MissingExtraError
from bundler.operations.pull import pull
from bundler.values.addresses import parse_address
try:
    pull(parse_address("oci://localhost:1/a:1"), Path("out"))
except MissingExtraError as exc:
    print(json.dumps(str(exc.fix)))
"""
    assert "tfbundle[oci]" in run_without(extras_modules("oci"), code)
