"""Commands with the address of a bundle in a store."""

from __future__ import annotations

import json
from pathlib import Path
from shutil import copytree

import pytest

import bundler
from bundler.bundle.manifest import Manifest
from bundler.errors import UsageError
from bundler.process.cache import CACHE_ENV
from tests.bundler.cli.commands import run
from tests.bundler.delivery.stores.buckets import memory_address, tree


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_ENV, str(tmp_path / "cache"))


@pytest.fixture
def digits(small_bundle: Path, tmp_path: Path) -> Path:
    return copytree(small_bundle, tmp_path / "local" / "digits")


@pytest.fixture
def address(digits: Path) -> str:
    """Return the address of the bundle in memory."""
    text = str(memory_address())
    run("push", digits, text)
    return text


def test_push_and_pull_print_json_alone_on_stdout(digits: Path, tmp_path: Path) -> None:
    address = memory_address()
    pushed = json.loads(run("push", digits, address, "--json").stdout)
    files = Manifest.read(digits / "bundle.json").files
    assert pushed["changed"] and (pushed["address"], pushed["files"]) == (str(address), len(files))
    assert json.loads(run("push", digits, address, "--json").stdout)["files"] == 0
    pulled = json.loads(run("pull", address, "-o", tmp_path / "copy", "--json").stdout)
    assert pulled["changed"] and pulled["bytes"] == pushed["bytes"] and tree(tmp_path / "copy") == tree(digits)
    assert "has this bundle already" in run("pull", address, "-o", tmp_path / "copy").stdout


def test_options_of_registries_are_refused_for_stores(digits: Path, address: str, tmp_path: Path) -> None:
    assert "--only" in run("push", digits, address, "--only", "models", code=2).output
    assert "--replace" in run("pull", address, "-o", tmp_path / "copy", "--replace", code=2).output


def test_verify_says_what_it_compared_and_that_no_model_ran(address: str) -> None:
    result = run("verify", address)
    assert f"{address} is intact" in result.stdout and "by a download" in result.stdout and "add --parity" in result.stderr
    counts = json.loads(run("verify", address, "--json").stdout)
    assert counts["passed"] and counts["by_download"] > 0
    assert run("verify", address, "--repair", code=2).output.startswith("error TFB9117")


def test_verify_finds_a_changed_byte(address: str) -> None:
    import fsspec

    files, path = fsspec.filesystem("memory"), f"{address}/models/mlp/1/saved_model.pb"
    data = files.cat_file(path)
    files.pipe_file(path, data[:-1] + bytes([data[-1] ^ 1]))
    assert "models/mlp/1/saved_model.pb: changed" in run("verify", address, code=1).output
    assert not json.loads(run("verify", address, "--json", code=1).stdout)["passed"]


def test_verify_with_parity_runs_the_models_of_a_copy(address: str) -> None:
    assert "1 SavedModel gives" in run("verify", address, "--parity").stdout


def test_promote_changes_the_store(address: str) -> None:
    run("promote", address, "--label", "stable", "--version", "1")
    assert json.loads(run("promote", address, "--json").stdout)["labels"] == {"mlp": {"stable": 1}}


@pytest.mark.slow
def test_render_changes_the_store(address: str, tmp_path: Path) -> None:
    spec = tmp_path / "bundle.yaml"
    spec.write_text("serving: {rest_port: 9000}\n")
    run("render", address, "--spec", spec)
    run("pull", address, "-o", tmp_path / "copy")
    assert Manifest.read(tmp_path / "copy" / "bundle.json").spec["serving"]["rest_port"] == 9000
    assert bundler.Bundle.open(tmp_path / "copy").verify(parity=False) == []


def test_inspect_and_export_mobile_read_a_copy(address: str, tmp_path: Path) -> None:
    facts = json.loads(run("inspect", address, "--json").stdout)
    assert facts["name"] == "digits" and facts["models"]["mlp"]["latest"] == 1
    run("export-mobile", address, "-o", tmp_path / "mobile")
    assert (tmp_path / "mobile" / "mlp-float32.tflite").is_file()


def test_serve_and_smoke_take_the_files_that_they_read(address: str, tmp_path: Path) -> None:
    from bundler.cli.serve import _options
    from bundler.cli.smoke import _golden

    served = Path(_options([address], []).bundle)
    assert (served / "models" / "mlp" / "1" / "saved_model.pb").is_file() and not (served / "onnx").exists()
    (golden,) = _golden(address)
    assert golden.model == "mlp" and golden.path.is_file()


@pytest.mark.parametrize("command", [("inspect",), ("serve",), ("launch",), ("promote",), ("render",)], ids=" ".join)
def test_a_registry_is_not_taken_for_a_folder(command: tuple[str, ...]) -> None:
    output = run(*command, "oci://registry.example.com/digits:1", code=2).output
    assert "error TFB9117" in output and "tfbundle pull oci://registry.example.com/digits:1 -o DIR" in output


def test_a_command_without_support_for_addresses_names_the_way_out(address: str) -> None:
    output = run("bench", "localhost:1", "--bundle", "s3://bucket/digits", code=2).output
    assert "error TFB9117: s3://bucket/digits is an address" in output and "tfbundle pull s3://bucket/digits -o DIR" in output
    with pytest.raises(UsageError, match="is an address"):
        bundler.Bundle.open("s3://bucket/digits")


def test_adopt_needs_a_folder(mlp_onnx: Path) -> None:
    output = run("build", mlp_onnx, "-o", memory_address(), "--adopt", code=2).output
    assert "error TFB9117: --adopt reads a model repository on this machine" in output


@pytest.mark.slow
def test_builds_into_an_address_add_versions(mlp_onnx: Path, tmp_path: Path) -> None:
    address = memory_address()
    first = run("build", mlp_onnx, "-o", address, "--tflite", "float32")
    assert f"Bundle: {address}" in first.stdout and f"tfbundle serve {address}" in first.stdout
    second = bundler.build(mlp_onnx, out=str(address))
    assert second.versions("mlp") == [1, 2] and second.name == "digits"
    run("pull", address, "-o", tmp_path / "copy")
    assert bundler.Bundle.open(tmp_path / "copy").verify() == []
