"""What is attached to a bundle in a registry is fetched with it; a pull that trusts somebody refuses all else."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from shutil import copytree

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from bundler.bundle.manifest import Manifest
from bundler.delivery.oci.descriptors import INDEX, to_bytes
from bundler.delivery.oci.referrers import attach, fallback_tag, referrers
from bundler.delivery.oci.registry import Registry
from bundler.delivery.supply_chain import image_signature
from bundler.delivery.supply_chain.keys import SigningKey
from bundler.delivery.supply_chain.signature import MEDIA_TYPE, Trust
from bundler.errors import DeliveryError, TfbundleError, UsageError, VerifyError
from bundler.operations.attestations import sign_image
from bundler.operations.pull import pull
from bundler.operations.push import Pushed, PushOptions, push
from bundler.operations.sign import check_signature, sign
from bundler.values.addresses import OciAddress
from tests.bundler.cli.commands import run
from tests.bundler.delivery.supply_chain.signers import KeyPair, key_pair
from tests.registries import RunningRegistry, registry
from tests.requirements import require_program

SIGNATURE = "attestations/signature.sigstore.json"
PAPERS = ["attestations/bom.cdx.json", "attestations/provenance/mlp/1.intoto.json"]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRegistry]:
    """Run a registry for the tests of this file; each uses a repository of its own."""
    with registry(tmp_path_factory.mktemp("registry") / "files") as found:
        yield found


@pytest.fixture
def address(running: RunningRegistry, request: pytest.FixtureRequest) -> OciAddress:
    """Return a tag in a repository that no other test uses."""
    name = "".join(letter if letter.isalnum() else "-" for letter in request.node.name.lower()).strip("-")
    return OciAddress.parse(running.address(f"tests/{'-'.join(filter(None, name.split('-')))}:1"))


def pushed(root: Path, address: OciAddress) -> Pushed:
    """Push the artifact of a bundle, without an image of its models."""
    return push(root, address, PushOptions(only="bundle", insecure=True))


def refused(address: OciAddress, target: Path, trust: Trust, code: str) -> str:
    """Return the message with which a pull is refused; nothing of it is visible."""
    with pytest.raises(TfbundleError) as caught:
        pull(address, target, insecure=True, trust=trust)
    assert caught.value.code == code, caught.value.what
    assert not target.exists()
    return caught.value.what


def without(address: OciAddress, is_gone: Callable[[str], bool]) -> None:
    """Remove attachments from the list of those that a bundle has, by their titles."""
    repository = Registry.at(address, insecure=True)
    digest = repository.document(address.reference).descriptor.digest
    rows = [each for each in referrers(repository, address) if not is_gone(each.annotations["org.opencontainers.image.title"])]
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [row.to_json() for row in rows]}
    repository.put_manifest(to_bytes(index), INDEX, tag=fallback_tag(digest))


def test_signed_bundle_travels_with_its_attestations(signed: Path, signer: KeyPair, address: OciAddress, tmp_path: Path) -> None:
    assert list(pushed(signed, address).attached) == [*PAPERS, SIGNATURE]
    pull(address, tmp_path / "far", insecure=True, trust=Trust(signer.public))
    assert all((tmp_path / "far" / path).read_bytes() == (signed / path).read_bytes() for path in (*PAPERS, SIGNATURE))
    check_signature(tmp_path / "far", Trust(signer.public))
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_attachments_have_the_media_types_of_their_ecosystems(signed: Path, address: OciAddress) -> None:
    pushed(signed, address)
    repository = Registry.at(address, insecure=True)
    found = {each.artifact_type: each.annotations for each in referrers(repository, address)}
    assert found[MEDIA_TYPE]["dev.sigstore.bundle.content"] == "dsse-envelope"
    assert found[MEDIA_TYPE]["dev.sigstore.bundle.predicateType"] == "https://model_signing/signature/v1.0"
    assert found["application/vnd.in-toto+json"]["in-toto.io/predicate-type"] == "https://slsa.dev/provenance/v1"
    assert "application/vnd.cyclonedx+json" in found
    again = pushed(signed, address)
    assert len(referrers(repository, address)) == 3
    assert again.totals.bytes.get("pushed", 0) == 0


def test_pull_with_another_key_shows_nothing(signed: Path, address: OciAddress, tmp_path: Path) -> None:
    pushed(signed, address)
    assert "by another key" in refused(address, tmp_path / "far", Trust(key_pair(tmp_path, "other").public), "TFB9203")


@pytest.mark.sample(3)
@pytest.mark.parametrize(
    ("path", "name"),
    [(PAPERS[0], "bill of materials"), (PAPERS[1], "provenance of mlp version 1"), (SIGNATURE, "signature")],
)
def test_stripped_attachment_is_named(
    signed: Path, signer: KeyPair, address: OciAddress, tmp_path: Path, path: str, name: str
) -> None:
    pushed(signed, address)
    without(address, lambda title: title == path)
    message = refused(address, tmp_path / "far", Trust(signer.public), "TFB9212")
    assert message.startswith(f"The artifact in the registry has no {name}: ")


def test_unsigned_bundle_is_refused_before_anything_is_fetched(
    small_bundle: Path, signer: KeyPair, address: OciAddress, tmp_path: Path
) -> None:
    assert pushed(copytree(small_bundle, tmp_path / "small"), address).attached == ()
    assert "has no signature" in refused(address, tmp_path / "far", Trust(signer.public), "TFB9212")
    assert [path.name for path in tmp_path.iterdir()] == ["small"]
    pull(address, tmp_path / "far", insecure=True)
    assert not (tmp_path / "far" / "attestations").exists()


def other_bundle(root: Path, target: Path) -> Path:
    """Return a copy of a bundle that has another report and so another bundle.json."""
    other = copytree(root, target)
    manifest = Manifest.read(other / "bundle.json")
    (other / "bundle.json").write_bytes(replace(manifest, tools={**manifest.tools, "python": "0"}).to_bytes())
    return other


@pytest.mark.slow
def test_swapped_signature_is_refused(signed: Path, signer: KeyPair, address: OciAddress, tmp_path: Path) -> None:
    other = other_bundle(signed, tmp_path / "other")
    sign(other, SigningKey.load(signer.private))
    pushed(signed, address)
    without(address, lambda title: title == SIGNATURE)
    attach(
        Registry.at(address, insecure=True), address, MEDIA_TYPE, MEDIA_TYPE, (other / SIGNATURE).read_bytes(),
        {"org.opencontainers.image.title": SIGNATURE},
    )  # fmt: skip
    assert "was signed before the last build" in refused(address, tmp_path / "far", Trust(signer.public), "TFB9208")


@pytest.mark.slow
def test_added_junk_does_not_hide_the_genuine_signature(
    signed: Path, signer: KeyPair, address: OciAddress, tmp_path: Path
) -> None:
    pushed(signed, address)
    repository = Registry.at(address, insecure=True)
    stranger = copytree(signed, tmp_path / "stranger")
    sign(stranger, SigningKey.load(key_pair(tmp_path, "stranger-key").private))
    for junk in (b"{}", (stranger / SIGNATURE).read_bytes()):
        attach(repository, address, MEDIA_TYPE, MEDIA_TYPE, junk, {"org.opencontainers.image.title": SIGNATURE})
    for title in (PAPERS[0], "../../outside", "attestations/other"):
        kind = "application/vnd.cyclonedx+json"
        attach(repository, address, kind, kind, b"{}", {"org.opencontainers.image.title": title})
    pull(address, tmp_path / "far", insecure=True, trust=Trust(signer.public))
    assert (tmp_path / "far" / SIGNATURE).read_bytes() == (signed / SIGNATURE).read_bytes()
    assert sorted(path.name for path in (tmp_path / "far/attestations").iterdir()) == [
        "bom.cdx.json", "provenance", "signature.sigstore.json",
    ]  # fmt: skip


def test_signature_of_an_earlier_bundle_is_not_attached(signed: Path, address: OciAddress, tmp_path: Path) -> None:
    other = other_bundle(signed, tmp_path / "other")
    result = pushed(other, address)
    assert result.attached == ()
    assert "so its signature was not attached" in result.notices[0]


@pytest.mark.slow
def test_bundle_that_is_there_already_gets_its_signature(
    small_bundle: Path, signer: KeyPair, address: OciAddress, tmp_path: Path
) -> None:
    root = copytree(small_bundle, tmp_path / "small")
    pushed(root, address)
    pull(address, tmp_path / "far", insecure=True)
    sign(root, SigningKey.load(signer.private))
    pushed(root, address)
    assert not pull(address, tmp_path / "far", insecure=True, trust=Trust(signer.public)).changed
    check_signature(tmp_path / "far", Trust(signer.public))
    content = bytearray((tmp_path / "far/report.html").read_bytes())
    content[-2] ^= 1
    (tmp_path / "far/report.html").write_bytes(content)
    with pytest.raises(VerifyError, match=r"1 file changed \(report.html\)"):
        pull(address, tmp_path / "far", insecure=True, trust=Trust(signer.public))
    assert (tmp_path / "far" / SIGNATURE).exists()


def test_commands_verify_a_bundle_in_a_registry(signed: Path, signer: KeyPair, address: OciAddress, tmp_path: Path) -> None:
    shown = run("push", signed, address, "--insecure", "--only", "bundle").output
    assert SIGNATURE in shown
    arguments = ("--insecure", "--no-parity", "--signature", "--key")
    assert "The signature is genuine" in run("verify", address, *arguments, signer.public).output
    other = key_pair(tmp_path, "other")
    assert "TFB9203" in run("verify", address, *arguments, other.public, code=1).stderr
    assert "TFB9203" in run("pull", address, "-o", tmp_path / "far", "--insecure", "--key", other.public, code=1).stderr
    result = run("pull", address, "-o", tmp_path / "far", "--insecure", "--key", signer.public, "--json")
    assert json.loads(result.stdout)["signature_checked"]


def test_image_and_artifact_are_signed_in_the_form_of_cosign(
    signed: Path, signer: KeyPair, address: OciAddress, tmp_path: Path
) -> None:
    result = push(signed, address, PushOptions(insecure=True))
    shown = run("sign", address, "--key", signer.private, "--insecure").output
    repository = Registry.at(address, insecure=True)
    assert result.image is not None
    assert result.artifact is not None
    digests = [result.address.digest, result.image.digest, result.artifact.digest]
    assert image_signature.check(repository, address.reference, signer.public) == digests
    assert all(str(digest) in shown for digest in digests)
    assert_openssl_verifies(repository, str(result.image.digest), signer, tmp_path)
    run("sign", address, "--key", key_pair(tmp_path, "second").private, "--insecure")
    image_signature.check(repository, address.reference, signer.public)  # a second signer takes nothing away
    image_signature.check(repository, address.reference, tmp_path / "second.pub")
    with pytest.raises(VerifyError, match="has no signature by"):
        image_signature.check(repository, address.reference, key_pair(tmp_path, "other").public)


def assert_openssl_verifies(repository: Registry, digest: str, signer: KeyPair, folder: Path) -> None:
    """Check a signature of a digest as cosign's specification says, with openssl."""
    openssl = require_program("openssl", install="apt-get install openssl")
    document = repository.document(f"{digest.replace(':', '-')}.sig").content
    (layer,) = document["layers"]
    assert layer["mediaType"] == "application/vnd.dev.cosign.simplesigning.v1+json"
    manifest = repository.document(f"{digest.replace(':', '-')}.sig")
    content = b"".join(repository.read(image_signature._layers(repository, digest)[0]))
    claims = json.loads(content)["critical"]
    assert claims["image"] == {"docker-manifest-digest": digest}
    assert claims["type"] == "cosign container image signature"
    assert claims["identity"]["docker-reference"] == f"{repository.address.registry}/{repository.address.repository}"
    assert manifest.content["config"]["mediaType"] == "application/vnd.oci.image.config.v1+json"
    (folder / "content").write_bytes(content)
    (folder / "made").write_bytes(base64.b64decode(layer["annotations"]["dev.cosignproject.cosign/signature"]))
    command = [openssl, "dgst", "-sha256", "-verify", str(signer.public), "-signature", "made", "content"]
    assert subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=20).stdout == "Verified OK\n"


@pytest.mark.slow
def test_signature_is_of_this_repository_and_digest(signed: Path, signer: KeyPair, address: OciAddress) -> None:
    pushed(signed, address)
    repository = Registry.at(address, insecure=True)
    (digest,) = sign_image(address, SigningKey.load(signer.private), insecure=True)
    other = repository.beside("tests/elsewhere")
    pushed(signed, OciAddress(address.registry, "tests/elsewhere", "1"))
    image_signature._add(other, digest, *next(image_signature._signatures(repository, digest)))
    with pytest.raises(VerifyError, match="has no signature by"):
        image_signature.check(other, digest, signer.public)


def test_image_is_signed_by_a_bare_key_on_p256_only(address: OciAddress, tmp_path: Path) -> None:
    larger = key_pair(tmp_path, curve=ec.SECP384R1())
    with pytest.raises(UsageError, match="with a key on P-256"):
        sign_image(address, SigningKey.load(larger.private), insecure=True)
    assert "TFB9211" in run("sign", address, "--keyless", "--insecure", code=2).stderr
    with pytest.raises(DeliveryError):
        sign_image(address, SigningKey.load(key_pair(tmp_path, "small").private), insecure=True)
