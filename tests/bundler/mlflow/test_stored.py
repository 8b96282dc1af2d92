"""A bundle in the folder of an MLflow model: what is copied, what MLmodel says of it, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from bundler.errors import PublishError, VerifyError
from bundler.mlflow import stored
from bundler.mlflow.stored import FLAVOR, StoredBundle, check_loggable, entry_of, store
from bundler.validation.bundle import Bundle


@pytest.fixture
def folder(grown: Bundle, mlflow: Any, tmp_path: Path) -> Path:
    """Return the folder of an MLflow model with nothing but a bundle."""
    folder = tmp_path / "logged"
    entry = entry_of(grown)
    store(grown, folder / entry["data"], link=False)
    write_entry(folder, entry)
    return folder


def write_entry(folder: Path, entry: dict[str, Any], flavor: str = FLAVOR) -> None:
    from mlflow.models import Model

    model = Model()
    model.add_flavor(flavor, **entry)
    model.save(str(folder / "MLmodel"))


def test_bundle_comes_back_whole(grown: Bundle, folder: Path) -> None:
    bundle = StoredBundle.read(folder, "models:/mlp/1").verified()
    assert bundle.path == (folder / "data" / grown.name).resolve()
    assert bundle.manifest == grown.manifest


def test_only_files_of_the_bundle_are_copied(grown: Bundle, tmp_path: Path) -> None:
    (grown.path / "notes.txt").write_text("mine")
    grown.layout.attestations_dir.mkdir()
    grown.layout.signature.write_text("{}")
    copy = tmp_path / "copy"
    size = store(grown, copy, link=False)
    files = {path.relative_to(copy).as_posix() for path in copy.rglob("*") if path.is_file()}
    assert files == {*grown.manifest.files, "bundle.json", "attestations/signature.sigstore.json"}
    assert size == sum((copy / name).stat().st_size for name in files)


def test_links_take_no_space(grown: Bundle, tmp_path: Path) -> None:
    store(grown, tmp_path / "linked", link=True)
    store(grown, tmp_path / "copied", link=False)
    name = "models/mlp/1/saved_model.pb"
    assert (tmp_path / "linked" / name).samefile(grown.path / name)
    assert not (tmp_path / "copied" / name).samefile(grown.path / name)


def test_link_out_of_the_bundle_is_not_copied(grown: Bundle, tmp_path: Path) -> None:
    outside = tmp_path / "secret"
    shutil.copy(grown.layout.report, outside)
    grown.layout.report.unlink()
    grown.layout.report.symlink_to(outside)
    with pytest.raises(VerifyError, match="leads out of the bundle"):
        store(grown, tmp_path / "copy", link=False)


def test_build_during_the_copy_is_noticed(grown: Bundle, tmp_path: Path) -> None:
    manifest = grown.manifest.without_version("mlp", 2)
    grown.layout.manifest.write_bytes(manifest.to_bytes())
    with pytest.raises(VerifyError, match="wrote to the bundle while it was being logged") as raised:
        store(grown, tmp_path / "copy", link=False)
    assert raised.value.code == "TFB9404"


def test_folder_that_cannot_be_written_is_explained(grown: Bundle, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PublishError, match=r"The bundle cannot be copied to .*: Not a directory") as raised:
        store(grown, tmp_path / "file" / "copy", link=False)
    assert raised.value.code == "TFB5001"


def test_full_disk_is_explained(grown: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(PublishError, match="there is no space left") as raised:
        store(grown, tmp_path / "copy", link=False)
    assert raised.value.code == "TFB5002" and "TMPDIR" in (raised.value.fix or "")


def test_model_of_another_flavour_is_named(tmp_path: Path, mlflow: Any) -> None:
    (tmp_path / "other").mkdir()
    write_entry(tmp_path / "other", {"data": "model.pkl"}, "sklearn")
    with pytest.raises(VerifyError, match="is an MLflow model without a bundle; its flavours are: sklearn") as raised:
        StoredBundle.read(tmp_path / "other", "models:/other/1")
    assert raised.value.code == "TFB9401"


@pytest.mark.parametrize(
    "change", [{"data": "../mlp"}, {"data": "/etc"}, {"data": ""}, {"data": 4}, {"data": None}, {"bundle_sha256": None}]
)
def test_damaged_entry_leads_nowhere(shared: Bundle, change: dict[str, Any]) -> None:
    with pytest.raises(VerifyError, match="The entry 'tfbundle' in the MLmodel of it is damaged") as raised:
        StoredBundle.of({FLAVOR: {**entry_of(shared), **change}}, Path("folder"), "it")
    assert raised.value.code == "TFB9401"


def test_model_of_a_later_tfbundle_says_which(shared: Bundle) -> None:
    entry = {**entry_of(shared), "format": 2, "tfbundle_version": "7.1.0"}
    with pytest.raises(VerifyError, match=r"logged by tfbundle 7\.1\.0, in the form 2") as raised:
        StoredBundle.of({FLAVOR: entry}, Path("folder"), "it")
    assert raised.value.code == "TFB9403"
    assert raised.value.fix == "pip install 'tfbundle[mlflow,serve]==7.1.0'"


def test_model_of_another_release_with_the_same_form_is_read(shared: Bundle) -> None:
    entry = {**entry_of(shared), "tfbundle_version": "7.1.0", "data": shared.name}
    assert StoredBundle.of({FLAVOR: entry}, shared.path.parent, "it").verified().versions("mlp") == [1, 2]


@pytest.mark.parametrize("name", ["models/mlp/1/saved_model.pb", "tflite/mlp/2/mlp-float32.tflite"])
def test_changed_byte_is_found(folder: Path, grown: Bundle, name: str) -> None:
    file = folder / "data" / grown.name / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(VerifyError, match="is not the one that was logged") as raised:
        StoredBundle.read(folder, "models:/mlp/1").verified()
    assert raised.value.code == "TFB9402" and f"{name}: changed: sha256" in raised.value.what


def test_bundle_in_the_place_of_another_is_found(folder: Path, grown: Bundle) -> None:
    root = folder / "data" / grown.name
    manifest = grown.manifest.without_version("mlp", 2)
    kept = {name: entry for name, entry in manifest.files.items() if "mlp/2" not in name}
    content = json.loads(manifest.to_bytes())
    assert len(kept) < len(content["files"])
    root.joinpath("bundle.json").write_bytes(manifest.to_bytes())
    with pytest.raises(VerifyError, match=r"bundle\.json: another one than was logged"):
        StoredBundle.read(folder, "it").open()


def test_damaged_bundle_is_not_logged(grown: Bundle) -> None:
    check_loggable(grown, allow_unsafe_ops=False)
    for number in (1, 2):
        grown.layout.golden_file("mlp", number).unlink()
    with pytest.raises(VerifyError, match="is not what was built, so that it is not logged") as raised:
        check_loggable(grown, allow_unsafe_ops=False)
    assert raised.value.code == "TFB9404"
    assert "golden/mlp/1.npz: missing" in raised.value.what
    assert f"`tfbundle verify {grown.path}`" in (raised.value.fix or "")


def test_long_list_of_problems_is_cut() -> None:
    assert stored.listed([f"file {n}" for n in range(7)]).splitlines()[-2:] == ["  file 4", "  and 2 more"]
