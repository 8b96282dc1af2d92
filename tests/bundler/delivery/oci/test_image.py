from __future__ import annotations

import gzip
import io
import json
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bundler.delivery.oci.descriptors import (
    DOCKER_INDEX,
    DOCKER_MANIFEST,
    INDEX,
    MANIFEST,
    Descriptor,
    digest_of,
    to_bytes,
)
from bundler.delivery.oci.image import Platform, read_base
from bundler.delivery.oci.layers import LAYER
from bundler.delivery.oci.registry import Registry
from bundler.errors import DeliveryError, UsageError
from bundler.values.addresses import OciAddress
from tests.bundler.cli.commands import run
from tests.registries import RunningRegistry, few_files, registry
from tests.requirements import skopeo, umoci


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRegistry]:
    with registry(tmp_path_factory.mktemp("registry")) as each:
        yield each


@pytest.fixture
def bundle(small_bundle: Path, tmp_path: Path) -> Path:
    return few_files(small_bundle, tmp_path / "small", bytes(1000))


def put_base(running: RunningRegistry, repository: str, *, docker: bool = False) -> OciAddress:
    """Push an image with a shell for two platforms, and return its address."""
    at = Registry.at(OciAddress(running.host, repository), insecure=True)
    rows = []
    for architecture in ("amd64", "arm64"):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            info = tarfile.TarInfo("bin/sh")
            info.size, info.mode = len(architecture), 0o755
            tar.addfile(info, io.BytesIO(architecture.encode()))
        layer = gzip.compress(buffer.getvalue(), mtime=0)
        config = to_bytes(
            {
                "architecture": architecture, "os": "linux", "config": {"Cmd": ["sh"], "Env": ["PATH=/bin"]},
                "created": "2024-01-01T00:00:00Z",
                "rootfs": {"type": "layers", "diff_ids": [digest_of(buffer.getvalue())]},
                "history": [{"created_by": "ADD sh"}, {"created_by": "CMD sh", "empty_layer": True}],
            }
        )  # fmt: skip
        layer_type = "application/vnd.docker.image.rootfs.diff.tar.gzip" if docker else LAYER
        config_type = f"application/vnd.{'docker.container.image' if docker else 'oci.image.config'}.v1+json"
        kind = DOCKER_MANIFEST if docker else MANIFEST
        manifest = to_bytes(
            {
                "schemaVersion": 2, "mediaType": kind, "config": Descriptor.of(config, config_type).to_json(),
                "layers": [Descriptor.of(layer, layer_type).to_json()],
            }
        )  # fmt: skip
        for blob in (layer, config):
            at.put_blob(blob)
        at.put_manifest(manifest, kind)
        rows.append(Descriptor.of(manifest, kind, platform={"os": "linux", "architecture": architecture}).to_json())
    index = DOCKER_INDEX if docker else INDEX
    at.put_manifest(to_bytes({"schemaVersion": 2, "mediaType": index, "manifests": rows}), index, tag="1")
    return OciAddress(running.host, repository, "1")


def unpack(running: RunningRegistry, reference: str, folder: Path) -> tuple[Path, dict[str, Any]]:
    """Return the files of an image and its config, as skopeo and umoci see them."""
    layout = f"oci:{folder / 'layout'}:1"
    subprocess.run([skopeo(), "copy", "-q", "--src-tls-verify=false", f"docker://{running.host}/{reference}", layout], check=True)
    command = [umoci(), "unpack", "--rootless", "--image", f"{folder / 'layout'}:1", str(folder / "unpacked")]
    subprocess.run(command, check=True, capture_output=True)
    inspect = [skopeo(), "inspect", "--config", "--tls-verify=false", f"docker://{running.host}/{reference}"]
    return folder / "unpacked" / "rootfs", json.loads(subprocess.run(inspect, check=True, capture_output=True).stdout)


@pytest.mark.parametrize("docker", [pytest.param(False, marks=pytest.mark.slow), True])
def test_models_lie_above_a_base_image_of_the_chosen_platform(
    running: RunningRegistry, bundle: Path, tmp_path: Path, docker: bool
) -> None:
    base = put_base(running, f"base/sh{docker:d}", docker=docker)
    options = ("--base", base.image, "--platform", "linux/arm64", "--only", "models", "--insecure", "--json")
    name = f"models/with-base{docker:d}:1"
    answer = json.loads(run("push", bundle, running.address(name), *options).stdout)
    assert answer["bytes"]["mounted"] > 0
    rootfs, config = unpack(running, name, tmp_path)
    assert (rootfs / "bin/sh").read_text() == "arm64"
    assert (rootfs / "models/mlp/1/saved_model.pb").read_bytes() == (bundle / "models/mlp/1/saved_model.pb").read_bytes()
    assert config["architecture"] == "arm64" and config["config"] == {"Cmd": ["sh"], "Env": ["PATH=/bin"]}
    assert len(config["rootfs"]["diff_ids"]) == 2 and "created" not in config
    assert [row["created_by"] for row in config["history"]] == ["ADD sh", "CMD sh", "tfbundle push: models/mlp/1"]
    again = json.loads(run("push", bundle, running.address(name), *options).stdout)
    assert (again["digest"], again["bytes"]["pushed"], again["bytes"]["mounted"]) == (answer["digest"], 0, 0)


@pytest.mark.slow
def test_base_image_of_another_registry_is_copied(running: RunningRegistry, bundle: Path, tmp_path: Path) -> None:
    with registry(tmp_path / "other") as other:
        base = put_base(other, "base/sh")
        name = "models/far-base:1"
        answer = json.loads(run("push", bundle, running.address(name), "--base", base.image, "--insecure", "--json").stdout)
    assert answer["bytes"]["mounted"] == 0
    rootfs, _ = unpack(running, name, tmp_path)
    assert (rootfs / "bin/sh").read_text() == "amd64"


def test_base_image_without_the_platform_is_told_with_those_that_it_has(running: RunningRegistry) -> None:
    base = put_base(running, "base/sh")
    repository = Registry.at(base, insecure=True)
    with pytest.raises(DeliveryError, match="is not there for linux/s390x") as caught:
        read_base(repository, base, Platform.parse("linux/s390x"))
    assert caught.value.code == "TFB9013" and "linux/amd64, linux/arm64" in str(caught.value.fix)


def test_artifact_cannot_be_a_base(running: RunningRegistry, bundle: Path) -> None:
    address = running.address("models/no-base:1")
    run("push", bundle, address, "--insecure", "--only", "bundle")
    failed = run("push", bundle, address, "--insecure", "--base", f"{running.host}/models/no-base:1", "--json", code=1)
    assert json.loads(failed.stdout)["code"] == "TFB9013"


@pytest.mark.parametrize("text", ["linux", "linux/", "linux/amd64/v2/x", "Linux/amd64"])
def test_malformed_platform_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a platform"):
        Platform.parse(text)
    assert str(Platform.parse("linux/arm/v7")) == "linux/arm/v7"
