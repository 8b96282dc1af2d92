"""Every release reads the bundle.json of the earlier ones; `releases/` has that of each release's demo."""

from __future__ import annotations

from pathlib import Path

import pytest

from bundler.bundle.manifest import Manifest
from bundler.spec.bundle_spec import parse_spec
from docs.release import sections

RELEASES = sorted((Path(__file__).parent / "releases").glob("*.json"))
CHANGELOG = Path(__file__).parents[3] / "CHANGELOG.md"


@pytest.mark.parametrize("path", RELEASES, ids=lambda path: path.stem)
def test_manifest_of_an_earlier_release_is_read_with_its_spec(path: Path) -> None:
    manifest = Manifest.read(path)
    assert manifest.tools["tfbundle"] == path.stem
    spec = parse_spec(dict(manifest.spec), where=path.name)
    assert {model.name for model in spec.models} == set(manifest.models) == {"digits", "minilm"}


def test_every_release_left_its_manifest() -> None:
    released = {name for name, day, _ in sections(CHANGELOG.read_text("utf-8")) if day and "rc" not in name}
    assert RELEASES and released <= {path.stem for path in RELEASES}
