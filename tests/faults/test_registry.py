"""A registry that refuses, fails, lies or breaks off: what the user is told, what becomes visible, how the next run goes on."""

from __future__ import annotations

import base64
import errno
import gzip
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bundler.bundle.manifest import FileEntry, Manifest
from bundler.delivery.oci import artifact, seals
from bundler.delivery.oci.descriptors import MANIFEST, Descriptor, to_bytes
from bundler.delivery.oci.layers import LAYER
from bundler.delivery.oci.referrers import BUNDLE_TYPE
from bundler.delivery.oci.registry import Registry
from bundler.delivery.oci.transport import Patience
from bundler.process.cache import CACHE_ENV
from bundler.values.addresses import OciAddress
from tests.bundler.cli.commands import run
from tests.faults.registry_proxy import Fault, Proxy, before
from tests.registries import RunningRegistry, few_files, registry

HTPASSWD = "anna:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n"  # bcrypt of "secret"
UPLOAD = r"/blobs/uploads/."


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRegistry]:
    with registry(tmp_path_factory.mktemp("registry")) as each:
        yield each


@pytest.fixture
def proxy(running: RunningRegistry) -> Iterator[Proxy]:
    with before(running.host) as each:
        yield each


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the user's cache and credentials out, and wait milliseconds where a user waits seconds."""
    monkeypatch.setenv(CACHE_ENV, str(tmp_path / "cache"))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.setattr(seals, "_TICK", -60.0)  # trust the times of files that have just been written
    monkeypatch.setattr(Patience.__init__, "__defaults__", (5, 0.01, *Patience.__init__.__defaults__[2:]))  # type: ignore[index]


@pytest.fixture
def bundle(small_bundle: Path, tmp_path: Path) -> Path:
    """Return a bundle with few files, and a megabyte of weights of its own, so that its layers are not in the registry yet."""
    return few_files(small_bundle, tmp_path / "small", os.urandom(1 << 20))


def push(bundle: Path, to: str, code: int = 0) -> Any:
    return json.loads(run("push", bundle, to, "--insecure", "--json", code=code).stdout)


def pull(source: str, target: Path, *more: str, code: int = 0) -> Any:
    return json.loads(run("pull", source, "-o", target, "--insecure", "--json", *more, code=code).stdout)


def assert_nothing_visible(target: Path) -> None:
    assert not target.exists()
    assert [path.name for path in target.parent.iterdir() if not path.name.startswith(".")].count(target.name) == 0


def assert_same(one: Path, other: Path) -> None:
    manifest = Manifest.read(one / "bundle.json")
    assert (one / "bundle.json").read_bytes() == (other / "bundle.json").read_bytes()
    for name in manifest.files:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


def tags(host: str, repository: str) -> list[str]:
    import urllib.error
    import urllib.request

    try:
        with urllib.request.urlopen(f"http://{host}/v2/{repository}/tags/list", timeout=20) as answer:
            return sorted(json.load(answer)["tags"] or ())
    except urllib.error.HTTPError as exc:
        exc.close()
        return []


# --- a registry that refuses


def test_wrong_password_is_told_at_once_and_the_right_one_works(
    tmp_path: Path, bundle: Path
) -> None:
    with registry(tmp_path / "closed", htpasswd=HTPASSWD) as closed:
        address = closed.address("models/mlp:1")
        failed = push(bundle, address, code=1)
        assert failed["code"] == "TFB9004" and "asks for credentials" in failed["error"]
        for password, code in (("wrong", 1), ("secret", 0)):
            log_in(tmp_path / "docker", closed.host, "anna", password)
            answer = push(bundle, address, code=code)
            if code:
                assert answer["code"] == "TFB9004" and "does not accept the credentials" in answer["error"]
                assert "docker login" in answer["fix"]
        pull(address, tmp_path / "out")
        assert_same(bundle, tmp_path / "out")


def log_in(folder: Path, host: str, user: str, password: str) -> None:
    folder.mkdir(exist_ok=True)
    auth = base64.b64encode(f"{user}:{password}".encode()).decode()
    (folder / "config.json").write_text(json.dumps({"auths": {host: {"auth": auth}}}), "utf-8")


def test_denied_access_is_told_with_the_repository(proxy: Proxy, bundle: Path) -> None:
    proxy.faults.append(Fault("POST", UPLOAD[:-1], status=403))
    failed = push(bundle, proxy.address("denied/mlp:1"), code=1)
    assert failed["code"] == "TFB9005" and "denies access" in failed["error"]
    assert "denied/mlp" in failed["where"] and proxy.count("POST") == 1
    assert tags(proxy.host, "denied/mlp") == []
    push(bundle, proxy.address("denied/mlp:1"))


def test_busy_registry_is_asked_again_after_the_time_that_it_names(
    proxy: Proxy, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(Patience.__init__, "__defaults__", (5, 0.01, waits.append))
    proxy.faults += [
        Fault("POST", UPLOAD[:-1], status=429, headers={"Retry-After": "7"}),
        Fault("PUT", "/manifests/", status=503, times=2),
        Fault("PATCH", UPLOAD, status=500),
    ]
    assert push(bundle, proxy.address("busy/mlp:1"))["bytes"]["pushed"] > 1 << 20
    assert waits[0] == 7.0 and len(waits) == 4 and all(wait < 0.1 for wait in waits[1:])


def test_registry_that_keeps_failing_is_told_and_the_next_push_goes_on(proxy: Proxy, bundle: Path) -> None:
    proxy.faults.append(Fault("PUT", "/manifests/", status=500, times=5))
    address = proxy.address("failing/mlp:1")
    failed = push(bundle, address, code=1)
    assert failed["code"] == "TFB9007" and "status 500" in failed["error"] and "later" in failed["fix"]
    assert tags(proxy.host, "failing/mlp") == []
    layer = max(row["size"] for row in _image_layers(bundle))
    again = push(bundle, address)
    assert again["bytes"]["skipped"] > layer > again["bytes"]["pushed"]


def _image_layers(bundle: Path) -> list[dict[str, int]]:
    from bundler.bundle.reader import BundleReader

    return [{"size": layer.size} for layer in artifact.divide(BundleReader.open(bundle)).models]


# --- connections that break


@pytest.mark.parametrize("after", [pytest.param(0, marks=pytest.mark.slow), 1 << 18])
def test_upload_that_is_cut_within_a_blob_goes_on(proxy: Proxy, bundle: Path, after: int, tmp_path: Path) -> None:
    proxy.faults.append(Fault("PATCH", UPLOAD, cut_body_after=after, times=2))
    address = proxy.address(f"cut{after}/mlp:1")
    push(bundle, address)
    assert not proxy.faults[0].times
    pull(address, tmp_path / "out")
    assert_same(bundle, tmp_path / "out")


def test_upload_that_is_cut_again_and_again_is_told_and_leaves_no_tag(proxy: Proxy, bundle: Path) -> None:
    proxy.faults.append(Fault("PATCH", UPLOAD, cut_body_after=1000, times=6))
    failed = push(bundle, proxy.address("cuts/mlp:1"), code=1)
    assert failed["code"] == "TFB9007" and "The connection to" in failed["error"]
    assert tags(proxy.host, "cuts/mlp") == []
    push(bundle, proxy.address("cuts/mlp:1"))
    assert tags(proxy.host, "cuts/mlp") == ["1", "1-bundle", "1-models"]


def test_download_that_is_cut_goes_on_where_it_was(proxy: Proxy, bundle: Path, tmp_path: Path) -> None:
    address = proxy.address("down/mlp:1")
    push(bundle, address)
    layers = Registry.at(OciAddress.parse(address), insecure=True).document("1-bundle").content["layers"]
    largest = max(layers, key=lambda layer: layer["size"])
    proxy.requests.clear()
    proxy.faults.append(Fault("GET", largest["digest"], cut_answer_after=400_000, times=2))
    pull(address, tmp_path / "out")
    assert_same(bundle, tmp_path / "out")
    assert [each for *_, each in proxy.requests if each] == ["bytes=262144-", "bytes=524288-"]


def test_next_pull_fetches_only_the_layers_that_are_missing(proxy: Proxy, bundle: Path, tmp_path: Path) -> None:
    address = proxy.address("later/mlp:1")
    push(bundle, address)
    target = tmp_path / "out"
    last = _last_layer(address)
    proxy.faults.append(Fault("GET", last, cut_answer_after=0, times=5))
    failed = pull(address, target, code=1)
    assert failed["code"] == "TFB9007"
    assert_nothing_visible(target)
    proxy.requests.clear()
    again = pull(address, target)
    assert again["bytes"]["skipped"] > 1 << 20
    assert_same(bundle, target)
    assert not list(tmp_path.glob(".out*"))


def _last_layer(address: str) -> str:
    place = OciAddress.parse(address)
    manifest = Registry.at(place, insecure=True).document(f"{place.tag}-bundle")
    return str(manifest.content["layers"][-1]["digest"])


# --- a registry that lies


def test_blob_with_other_bytes_than_its_digest_is_refused(proxy: Proxy, bundle: Path, tmp_path: Path) -> None:
    address = proxy.address("lies/mlp:1")
    push(bundle, address)
    place = OciAddress.parse(address)
    layers = Registry.at(place, insecure=True).document("1-bundle").content["layers"]
    for layer in (layers[0], layers[1], layers[-1]):
        proxy.faults.append(Fault("GET", layer["digest"], flip=True))
        failed = pull(address, tmp_path / "out", code=1)
        assert failed["code"] == "TFB9010" and layer["digest"] in failed["error"]
        assert_nothing_visible(tmp_path / "out")
    pull(address, tmp_path / "out")
    assert_same(bundle, tmp_path / "out")


def test_manifest_with_other_bytes_than_its_digest_is_refused(proxy: Proxy, bundle: Path, tmp_path: Path) -> None:
    digest = push(bundle, proxy.address("lies/manifest:1"))["digest"]
    for source in (proxy.address("lies/manifest:1"), f"{proxy.address('lies/manifest')}@{digest}"):
        proxy.faults.append(Fault("GET", "/manifests/", flip=True))
        assert pull(source, tmp_path / "out", code=1)["code"] == "TFB9010"
        assert_nothing_visible(tmp_path / "out")


def test_bundle_that_changed_since_it_was_built_is_not_pushed(proxy: Proxy, bundle: Path) -> None:
    with (bundle / "models/mlp/1/variables/more.data").open("r+b") as file:
        file.write(b"x")
    failed = push(bundle, proxy.address("changed/mlp:1"), code=1)
    assert failed["code"] == "TFB5104" and "more.data" in failed["error"]
    assert tags(proxy.host, "changed/mlp") == []


# --- hostile layers


def tar_layer(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    """Return a layer with members that tfbundle would never write."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for info, data in members:
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return gzip.compress(buffer.getvalue(), 1)


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def hostile(address: str, bundle: Path, layer: bytes, media_type: str = LAYER, title: str = "models/mlp/1") -> None:
    """Push an artifact with a bundle's bundle.json and a layer that does not belong to it."""
    place = OciAddress.parse(address)
    registry = Registry.at(place, insecure=True)
    data = (bundle / "bundle.json").read_bytes()
    rows = [artifact.bundle_json_layer(data), Descriptor.of(layer, media_type, annotations={artifact.TITLE: title})]
    for blob in (data, layer, b"{}"):
        registry.put_blob(blob)
    manifest = {
        "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": BUNDLE_TYPE,
        "config": Descriptor.of(b"{}", artifact.CONFIG).to_json(), "layers": [row.to_json() for row in rows],
    }  # fmt: skip
    registry.put_manifest(to_bytes(manifest), MANIFEST, tag=place.tag)


HOSTILE = {
    "parent": ((member("models/mlp/1/../../../../evil"), b"x"), "leads out"),
    "absolute": ((member("/tmp/evil"), b"x"), "absolute"),
    "symlink": ((member("models/mlp/1/variables", tarfile.SYMTYPE, "/etc"), b""), "a symbolic link"),
    "hardlink": ((member("models/mlp/1/saved_model.pb", tarfile.LNKTYPE, "/etc/passwd"), b""), "a hard link"),
    "device": ((member("models/mlp/1/null", tarfile.CHRTYPE), b""), "a device"),
    "fifo": ((member("models/mlp/1/pipe", tarfile.FIFOTYPE), b""), "a FIFO"),
    "unlisted": ((member("models/mlp/1/more.so"), b"x"), "does not list"),
    "other-size": ((member("models/mlp/1/saved_model.pb"), b"x"), "another size"),
    "folder": ((member("../evil", tarfile.DIRTYPE), b""), "does not belong"),
    "sparse": ((member("models/mlp/1/saved_model.pb", tarfile.GNUTYPE_SPARSE), b""), "is not a tar file|sparse"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_member_of_a_layer_is_refused(
    name: str, running: RunningRegistry, bundle: Path, tmp_path: Path
) -> None:
    entry, why = HOSTILE[name]
    address = running.address(f"hostile/{name}:1")
    hostile(address, bundle, tar_layer(entry))
    failed = pull(address, tmp_path / "out", code=1)
    assert failed["code"] == "TFB9011" and "do not use this artifact" in failed["fix"]
    assert any(each in failed["error"] for each in why.split("|")), failed["error"]
    assert_nothing_visible(tmp_path / "out")
    assert not list(tmp_path.glob("**/evil")) and not Path("/tmp/evil").exists() and not list(tmp_path.glob(".out*"))


def test_same_file_twice_in_a_layer_is_refused(running: RunningRegistry, bundle: Path, tmp_path: Path) -> None:
    name = "models/mlp/1/saved_model.pb"
    data = (bundle / name).read_bytes()
    address = running.address("hostile/twice:1")
    hostile(address, bundle, tar_layer((member(name), data), (member(name), data)))
    assert "occurs twice" in pull(address, tmp_path / "out", code=1)["error"]


def test_layer_that_unfolds_into_more_than_announced_is_refused(
    running: RunningRegistry, bundle: Path, tmp_path: Path
) -> None:
    address = running.address("hostile/bomb:1")
    hostile(address, bundle, gzip.compress(bytes(64 << 20), 9))
    failed = pull(address, tmp_path / "out", code=1)
    assert failed["code"] == "TFB9011"
    bomb = member("x", tarfile.XHDTYPE)
    hostile(running.address("hostile/header:1"), bundle, tar_layer((bomb, bytes(32 << 20))))
    assert "64 KiB" in pull(running.address("hostile/header:1"), tmp_path / "out", code=1)["error"]


@pytest.mark.parametrize("title", ["../evil", "/tmp/evil", "bundle.json", ".lock"])
def test_hostile_title_of_a_file_is_refused(
    title: str, running: RunningRegistry, bundle: Path, tmp_path: Path
) -> None:
    address = running.address("hostile/title:1")
    hostile(address, bundle, b"x", media_type=artifact.FILES["tflite"], title=title)
    assert pull(address, tmp_path / "out", code=1)["code"] == "TFB9011"
    assert_nothing_visible(tmp_path / "out")


def test_artifact_that_lacks_a_file_is_refused(running: RunningRegistry, bundle: Path, tmp_path: Path) -> None:
    address = running.address("hostile/lacks:1")
    hostile(address, bundle, tar_layer((member("models/mlp/1", tarfile.DIRTYPE), b"")))
    failed = pull(address, tmp_path / "out", code=1)
    assert failed["code"] == "TFB9009" and "no layer has the file" in failed["error"]
    assert_nothing_visible(tmp_path / "out")


# --- this machine


def test_full_disk_is_told_and_the_next_pull_goes_on(
    running: RunningRegistry, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = running.address("full/mlp:1")
    push(bundle, address)
    from bundler.delivery.oci import unpack

    def full(file: Any, data: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    real = unpack._write
    monkeypatch.setattr(unpack, "_write", full)
    failed = pull(address, tmp_path / "out", code=1)
    assert failed["code"] == "TFB5002" and "no space left" in failed["error"] and "goes on" in failed["fix"]
    assert_nothing_visible(tmp_path / "out")
    monkeypatch.setattr(unpack, "_write", real)
    pull(address, tmp_path / "out")
    assert_same(bundle, tmp_path / "out")


def test_folder_that_cannot_be_written_is_told(running: RunningRegistry, bundle: Path) -> None:
    address = running.address("full/mlp:2")
    push(bundle, address)
    failed = pull(address, Path("/proc/tfbundle"), code=1)
    assert failed["code"] == "TFB5001" and "/proc/tfbundle" in failed["error"]


def test_two_pushes_of_one_tag_leave_one_of_them_whole(proxy: Proxy, bundle: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(bundle, tmp_path / "other"))
    with (other / "report.html").open("ab") as file:
        file.write(b"<!-- another build -->")
    manifest = Manifest.read(other / "bundle.json")
    files = {**manifest.files, "report.html": FileEntry.of(other / "report.html")}
    (other / "bundle.json").write_bytes(replace(manifest, files=files).to_bytes())
    address = proxy.address("both/mlp:1")
    held = Fault("PUT", "/manifests/1$", hold=True)
    proxy.faults.append(held)
    answers: list[Any] = []
    first = threading.Thread(target=lambda: answers.append(push_quietly(bundle, address)))
    first.start()
    assert held.held.wait(30)
    second = push(other, address)
    pull(address, tmp_path / "between")
    assert_same(other, tmp_path / "between")
    held.release.set()
    first.join(30)
    pull(address, tmp_path / "after")
    assert_same(bundle, tmp_path / "after")
    for digest, root in ((second["digest"], other), (answers[0], bundle)):
        pull(f"{proxy.address('both/mlp')}@{digest}", tmp_path / digest[-8:])
        assert_same(root, tmp_path / digest[-8:])


def push_quietly(bundle: Path, address: str) -> str | None:
    """Push from a thread, in which the command line cannot set a handler for signals."""
    from bundler.operations.push import PushOptions
    from bundler.operations.push import push as push_bundle

    return push_bundle(bundle, OciAddress.parse(address), PushOptions(insecure=True)).address.digest


@pytest.mark.parametrize("what", ["push", "pull"])
def test_ctrl_c_leaves_nothing_visible_and_the_next_run_goes_on(
    what: str, proxy: Proxy, bundle: Path, tmp_path: Path
) -> None:
    address, target = proxy.address(f"ctrl-c-{what}/mlp:1"), tmp_path / "out"
    if what == "pull":
        push(bundle, address)
    held = Fault("PUT", "/manifests/", hold=True) if what == "push" else Fault("GET", _last_layer(address), hold=True)
    proxy.faults.append(held)
    words = ["push", str(bundle), address] if what == "push" else ["pull", address, "-o", str(target)]
    command = [sys.executable, "-m", "bundler", *words, "--insecure"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert held.held.wait(60)
    process.send_signal(signal.SIGINT)
    held.release.set()
    _, messages = process.communicate(timeout=60)
    assert process.returncode == 130, messages
    assert "goes on with what is missing" in messages and "Traceback" not in messages
    if what == "push":
        assert "1" not in tags(proxy.host, f"ctrl-c-{what}/mlp")
        assert push(bundle, address)["bytes"]["skipped"] > 1 << 20
    else:
        assert_nothing_visible(target)
        assert pull(address, target)["bytes"]["skipped"] > 1 << 20
        assert_same(bundle, target)
