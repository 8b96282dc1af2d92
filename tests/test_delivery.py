"""The whole way of a bundle, through a registry and through a bucket, as examples/registry/run.sh goes it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from shutil import copytree

import pytest

from bundler.process.cache import CACHE_ENV
from serving.launch.server_process import server_process
from tests.bundler.cli.commands import run
from tests.bundler.delivery.stores.buckets import memory_address
from tests.bundler.delivery.supply_chain.signers import key_pair
from tests.registries import registry
from tests.requirements import bash, docker_registry, openssl

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_ENV, str(tmp_path / "cache"))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))


def test_a_bundle_is_pushed_signed_pulled_elsewhere_verified_served_and_smoke_tested(
    small_bundle: Path, tmp_path: Path
) -> None:
    built, pulled = Path(copytree(small_bundle, tmp_path / "built")), tmp_path / "pulled"
    key = key_pair(tmp_path, "key")
    with registry(tmp_path / "registry") as running:
        address = running.address("team/small:1")
        run("push", built, address, "--insecure")
        again = json.loads(run("push", built, address, "--insecure", "--json").stdout)
        assert again["bytes"]["pushed"] == 0 and again["bytes"]["skipped"] > 0
        run("sign", built, "--key", key.private)
        attached = json.loads(run("push", built, address, "--insecure", "--json").stdout)
        assert attached["bytes"]["pushed"] == 0 and len(attached["attached"]) == 3
        run("pull", address, "-o", pulled, "--insecure", "--key", key.public)
    assert "The signature is genuine" in run("verify", pulled, "--signature", "--key", key.public).stdout
    with server_process(pulled) as server:
        assert "PASSED" in run("smoke", server.grpc_target, "--bundle", pulled).stdout


def test_a_bundle_goes_through_a_bucket_with_its_signature(small_bundle: Path, tmp_path: Path) -> None:
    built, pulled = Path(copytree(small_bundle, tmp_path / "built")), tmp_path / "pulled"
    key, address = key_pair(tmp_path, "key"), str(memory_address())
    run("sign", built, "--key", key.private)
    run("push", built, address)
    run("pull", address, "-o", pulled)
    for place in (pulled, address):
        verified = run("verify", place, "--signature", "--key", key.public, "--no-parity").stdout
        assert "The signature is genuine" in verified


@pytest.mark.slow
def test_the_example_runs(tmp_path: Path) -> None:
    docker_registry(), openssl()
    paths = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    command = [bash(), str(ROOT / "examples" / "registry" / "run.sh"), str(tmp_path / "work")]
    done = subprocess.run(command, env={**os.environ, "PATH": paths}, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 bytes sent" in done.stdout and "PASSED" in done.stdout
