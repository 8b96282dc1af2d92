from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from bundler.delivery.oci.descriptors import MANIFEST, Descriptor, to_bytes
from bundler.delivery.oci.referrers import attach, fallback_tag, fetch, referrers
from bundler.delivery.oci.registry import Registry
from bundler.errors import DeliveryError
from bundler.values.addresses import OciAddress
from tests.registries import registry

SIGNATURE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAPERS = "application/vnd.cyclonedx+json"


@pytest.fixture
def subject(tmp_path: Path) -> Iterator[tuple[Registry, OciAddress]]:
    with registry(tmp_path / "registry") as running:
        address = OciAddress.parse(running.address("models/digits:1"))
        repository = Registry.at(address, insecure=True)
        repository.put_blob(b"{}")
        config = Descriptor.of(b"{}", "application/vnd.oci.empty.v1+json").to_json()
        manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "a/b", "config": config, "layers": []}
        repository.put_manifest(to_bytes(manifest), MANIFEST, tag="1")
        yield repository, address


def test_attachments_are_listed_by_type_and_fetched(subject: tuple[Registry, OciAddress]) -> None:
    repository, address = subject
    assert referrers(repository, address) == []
    signature = attach(repository, address, SIGNATURE, SIGNATURE, b'{"sig": 1}', {"made.by": "key"})
    papers = attach(repository, address, PAPERS, PAPERS, b'{"bom": 1}')
    assert attach(repository, address, SIGNATURE, SIGNATURE, b'{"sig": 1}', {"made.by": "key"}) == signature
    listed = referrers(repository, address)
    assert [(each.digest, each.artifact_type) for each in listed] == [(signature, SIGNATURE), (papers, PAPERS)]
    assert listed[0].annotations == {"made.by": "key"}
    (found,) = referrers(repository, address, PAPERS)
    assert fetch(repository, found) == b'{"bom": 1}'
    assert fetch(repository, signature) == b'{"sig": 1}'


def test_attachment_names_its_subject_and_the_fallback_tag_lists_it(subject: tuple[Registry, OciAddress]) -> None:
    repository, address = subject
    on = repository.document("1").descriptor
    attachment = attach(repository, address, SIGNATURE, SIGNATURE, b"{}")
    assert repository.document(attachment).content["subject"]["digest"] == on.digest
    index = json.loads(repository.document(fallback_tag(on.digest)).data)
    assert [row["digest"] for row in index["manifests"]] == [attachment]


def test_unknown_subject_is_an_error(subject: tuple[Registry, OciAddress]) -> None:
    repository, address = subject
    with pytest.raises(DeliveryError, match="does not have it") as caught:
        attach(repository, OciAddress(address.registry, address.repository, "2"), SIGNATURE, SIGNATURE, b"{}")
    assert caught.value.code == "TFB9006"
