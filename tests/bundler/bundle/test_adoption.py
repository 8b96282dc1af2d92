"""A build refuses a folder that is not a bundle, and takes in a model repository of TensorFlow Serving if it is told to."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import bundler
from bundler import Bundle
from bundler.bundle.adoption import FoundVersion, check_folder, find_versions
from bundler.bundle.layout import BundleLayout
from bundler.bundle.staging import Staging
from bundler.errors import UsageError
from bundler.operations.promote import promote
from bundler.operations.smoke import served_golden_files
from bundler.render.parts import rerender
from tests.bundler.cli.commands import run


def repository(root: Path, small_bundle: Path, *places: str) -> Path:
    """Put the small bundle's SavedModel into version folders below `root`."""
    for place in places:
        shutil.copytree(small_bundle / "models" / "mlp" / "1", root / place)
    return root


def contents(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def test_a_build_refuses_a_folder_that_is_not_a_bundle_and_names_what_lies_there(mlp_onnx: Path, tmp_path: Path) -> None:
    folder = tmp_path / "my project"
    (folder / "docker").mkdir(parents=True)
    (folder / "docker" / "Dockerfile").write_text("FROM scratch\n")
    (folder / "train.py").write_text("print()\n")
    before = contents(folder)
    result = run("build", mlp_onnx, "-o", folder, code=2)
    assert f"{folder} is not a bundle, and it is not empty: it holds docker/, train.py." in result.stderr
    assert f"-o '{folder}/bundle'" in result.stderr
    assert contents(folder) == before
    assert not (folder / ".lock").exists()


def test_a_refusal_lists_few_names_of_a_full_folder(tmp_path: Path) -> None:
    for number in range(12):
        (tmp_path / f"file{number:02}").touch()
    with pytest.raises(UsageError, match="it holds file00, file01, file02, file03, file04 and 7 more"):
        check_folder(BundleLayout(tmp_path), tmp_path)


@pytest.mark.parametrize("name", [".gitignore", ".DS_Store", ".lock"])
def test_a_folder_with_only_harmless_files_counts_as_empty(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    check_folder(BundleLayout(tmp_path), tmp_path)


@pytest.mark.slow
def test_a_refused_model_repository_advises_adopt(small_bundle: Path, tmp_path: Path) -> None:
    root = repository(tmp_path / "repo", small_bundle, "resnet/1", "resnet/2")
    with pytest.raises(UsageError, match="with resnet 1, 2") as caught:
        Staging(root).__enter__()
    assert "--adopt" in str(caught.value.fix)


@pytest.mark.parametrize(
    ("place", "model"), [("models/resnet/3", "resnet"), ("resnet/3", "resnet"), ("3", "repo")]
)
def test_versions_are_found_in_three_places(small_bundle: Path, tmp_path: Path, place: str, model: str) -> None:
    root = repository(tmp_path / "repo", small_bundle, place)
    assert find_versions(BundleLayout(root)) == [FoundVersion(model, 3, root / place)]


def test_adopt_keeps_the_versions_of_a_model_repository_and_adds_the_next_one(
    mlp_onnx: Path, small_bundle: Path, tmp_path: Path
) -> None:
    """All that lies there stays byte for byte; the other commands work with the adopted versions."""
    root = repository(tmp_path / "repo", small_bundle, "mlp/1", "mlp/4", "other/7")
    (root / "models.config").write_text("model_config_list {}\n")
    before = contents(root)
    bundle = bundler.build(mlp_onnx, out=root, adopt=True)
    assert bundle.versions("mlp") == [1, 4, 5]
    assert bundle.versions("other") == [7]
    assert any("Adopted 3 versions" in notice and "mlp 1, 4 and other 7" in notice for notice in bundle.notices)
    after = contents(root)
    assert {path: after[path] for path in before} == before
    assert after["models/mlp/4/saved_model.pb"] == before["mlp/4/saved_model.pb"]
    assert (root / "models/mlp/4/saved_model.pb").stat().st_nlink == 2
    assert bundle.record("mlp", 4)["adopted"]["path"] == "mlp/4"
    assert [problem for problem in bundle.verify() if problem.serious] == []
    assert [(file.model, file.version) for file in served_golden_files(bundle)] == [("mlp", 5)]

    promote(root, "mlp", "stable", 4)
    rerender(root, ("serving", "smoke", "report"))
    assert 'key: "stable"' in (root / "serving" / "models.config").read_text()
    assert "adopted, not built by tfbundle" in run("inspect", root).stdout
    assert "not compared" in (root / "report.html").read_text()
    assert "3 versions that tfbundle did not build" in run("verify", root).stderr
    assert "has no golden data" in run("bench", "localhost:1", "--bundle", root, "--model", "other", code=2).stderr.replace(
        "the bundle has", "has"
    )
    again = bundler.build(mlp_onnx, out=root, adopt=True)
    assert again.versions("mlp") == [1, 4, 5, 6]
    assert not any("Adopted" in notice for notice in again.notices)


def test_adopted_versions_in_models_stay_where_they_are(mlp_onnx: Path, small_bundle: Path, tmp_path: Path) -> None:
    root = repository(tmp_path / "repo", small_bundle, "models/other/2")
    inode = (root / "models/other/2/saved_model.pb").stat().st_ino
    bundle = bundler.build(mlp_onnx, out=root, adopt=True)
    assert {name: bundle.versions(name) for name in bundle.models()} == {"mlp": [1], "other": [2]}
    assert (root / "models/other/2/saved_model.pb").stat().st_ino == inode
    (root / "models/other/2/saved_model.pb").write_bytes(b"changed")
    assert [p.path for p in Bundle.open(root).verify(parity=False) if p.serious][:1] == ["models/other/2/saved_model.pb"]


@pytest.mark.slow
def test_the_server_serves_adopted_versions_beside_the_new_one(mlp_onnx: Path, small_bundle: Path, tmp_path: Path) -> None:
    import numpy as np

    from serving import Client
    from serving.server import Server

    root = repository(tmp_path / "repo", small_bundle, "mlp/1")
    bundler.build(mlp_onnx, out=root, adopt=True)
    promote(root, "mlp", "stable", 1)
    x = np.ones((2, 4), np.float32)
    with Server(root) as server, Client(f"localhost:{server.grpc_port}") as client:
        old, new = (client.predict("mlp", x=x, version=number)["y"] for number in (1, 2))
        np.testing.assert_array_equal(client.predict("mlp", x=x, label="stable")["y"], old)
    np.testing.assert_allclose(old, new, rtol=1e-6)


def test_a_failed_build_adopts_nothing(small_bundle: Path, tmp_path: Path) -> None:
    root = repository(tmp_path / "repo", small_bundle, "mlp/1")
    before = contents(root)
    run("build", tmp_path / "missing.onnx", "-o", root, "--adopt", code=None)
    assert contents(root) == before


def assert_not_adopted(root: Path, text: str) -> None:
    with Staging(root, adopts=True) as staging, pytest.raises(UsageError) as caught:
        staging.adopt()
    assert text in caught.value.what


def test_nothing_to_adopt_is_an_error(tmp_path: Path) -> None:
    assert_not_adopted(tmp_path / "typo", "There is no version of a model to adopt")


def test_a_version_that_is_no_saved_model_is_not_adopted(tmp_path: Path) -> None:
    (tmp_path / "m" / "1").mkdir(parents=True)
    assert_not_adopted(tmp_path, "Version 1 of 'm' cannot be adopted: ")


def test_a_version_number_with_zeros_before_it_is_not_adopted(small_bundle: Path, tmp_path: Path) -> None:
    assert_not_adopted(repository(tmp_path, small_bundle, "m/007"), "is version 7 to TensorFlow Serving")


def test_a_version_with_a_link_is_not_adopted(small_bundle: Path, tmp_path: Path) -> None:
    root = repository(tmp_path, small_bundle, "m/1")
    (root / "m/1/assets.txt").symlink_to("/etc/hostname")
    assert_not_adopted(root, "is a symbolic link")


def test_a_file_in_models_that_belongs_to_no_version_is_not_adopted(small_bundle: Path, tmp_path: Path) -> None:
    root = repository(tmp_path, small_bundle, "models/m/1")
    (root / "models" / "models.config").touch()
    assert_not_adopted(root, "models/models.config belongs to no version")
