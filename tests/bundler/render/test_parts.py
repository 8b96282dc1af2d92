"""The parts of a bundle: rendering them again, and the context that is made from bundle.json."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bundler.bundle.manifest import Manifest
from bundler.errors import UsageError, VerifyError
from bundler.render.parts import PARTS, render_context, rerender
from bundler.spec.bundle_spec import parse_spec


@pytest.fixture
def bundle(small_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small_bundle, tmp_path / "small"))


def test_an_unknown_part_is_rejected_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Unknown part 'helm'") as caught:
        rerender(tmp_path, ("helm",))
    assert caught.value.fix == f"choose one of: {', '.join(PARTS)}"


def test_a_folder_without_a_bundle_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(VerifyError):
        rerender(tmp_path, ("serving",))
    assert not list(tmp_path.iterdir())


def test_only_the_chosen_parts_are_rendered(bundle: Path) -> None:
    compose = (bundle / "docker" / "compose.yaml").read_bytes()
    rerender(bundle, ("serving",), parse_spec({"serving": {"rest_port": 9501}}, where="the test"))
    assert "--rest_api_port=9501" in (bundle / "serving" / "README.md").read_text()
    assert (bundle / "docker" / "compose.yaml").read_bytes() == compose


def test_the_context_holds_every_model_of_the_manifest(bundle: Path) -> None:
    context = render_context("Small_Bundle", Manifest.read(bundle / "bundle.json"))
    assert context.name == "small-bundle"
    (model,) = context.models
    assert (model.name, model.versions, list(model.signatures)) == ("mlp", (1,), ["serving_default"])
    folder = bundle / "models" / "mlp" / "1"
    assert model.size_bytes == sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
