"""The papers of a bundle are refused when they are missing, damaged, or speak of another bundle's files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bundler.bundle.layout import BundleLayout
from bundler.bundle.manifest import Manifest
from bundler.delivery.supply_chain import papers
from bundler.delivery.supply_chain.signature import Trust
from bundler.errors import VerifyError
from bundler.operations.sign import check_signature
from tests.bundler.delivery.supply_chain.signers import KeyPair

BOM, PROVENANCE = "attestations/bom.cdx.json", "attestations/provenance/mlp/1.intoto.json"


def refused(root: Path) -> str:
    """Return the message with which the papers are refused."""
    with pytest.raises(VerifyError) as caught:
        papers.check(BundleLayout(root), Manifest.read(root / "bundle.json"))
    assert caught.value.code == "TFB9210"
    return caught.value.what


def test_papers_are_the_same_bytes_when_rendered_again(signed: Path) -> None:
    layout = BundleLayout(signed)
    rendered = papers.render(layout, Manifest.read(layout.manifest))
    assert list(rendered) == layout.papers(Manifest.read(layout.manifest).models)
    assert all(path.read_bytes() == content for path, content in rendered.items())
    papers.check(layout, Manifest.read(layout.manifest))


@pytest.mark.parametrize(("path", "name"), [(BOM, "bill of materials"), (PROVENANCE, "provenance")])
def test_missing_or_damaged_paper_is_named(signed: Path, path: str, name: str) -> None:
    for content in (b"", b"[]", b"{}", b"\xff", b"[" * 100_000):
        (signed / path).write_bytes(content)
        assert f"The {name} is damaged" in refused(signed)
    (signed / path).unlink()
    assert refused(signed) == f"The bundle has no {name}."


@pytest.mark.parametrize(("path", "name"), [(BOM, "bill of materials"), (PROVENANCE, "provenance of mlp version 1")])
def test_paper_of_another_digest_is_named(signed: Path, signer: KeyPair, path: str, name: str) -> None:
    manifest = Manifest.read(signed / "bundle.json")
    digest = manifest.files["models/mlp/1/saved_model.pb"].sha256
    (signed / path).write_text((signed / path).read_text().replace(digest, "0" * 64))
    message = f"The {name} is not of this bundle: it names sha256 000000000000… of models/mlp/1/saved_model.pb, which is "
    assert refused(signed).startswith(message)
    with pytest.raises(VerifyError, match=message):  # and not only that a signed file has changed
        check_signature(signed, Trust(signer.public))


def test_bill_of_materials_of_an_earlier_bundle_json_is_named(signed: Path) -> None:
    document = json.loads((signed / BOM).read_text())
    document["metadata"]["component"]["hashes"][0]["content"] = "1" * 64
    (signed / BOM).write_text(json.dumps(document))
    assert "it names sha256 111111111111… of bundle.json" in refused(signed)


def test_provenance_that_lacks_or_adds_a_file_is_named(signed: Path) -> None:
    document = json.loads((signed / PROVENANCE).read_text())
    subjects = document["subject"]
    (signed / PROVENANCE).write_text(json.dumps({**document, "subject": subjects[1:]}))
    assert f"it does not name {subjects[0]['name']}" in refused(signed)
    more = [*subjects, {"name": "models/mlp/1/x", "digest": {"sha256": "2" * 64}}]
    (signed / PROVENANCE).write_text(json.dumps({**document, "subject": more}))
    assert "it names models/mlp/1/x, which the bundle does not have" in refused(signed)
