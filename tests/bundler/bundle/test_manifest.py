"""bundle.json: any changed byte is noticed, and manifests are values."""

from __future__ import annotations

from pathlib import Path

import pytest

from bundler.bundle.manifest import FileEntry, Manifest, tool_versions
from bundler.errors import VerifyError
from tests.bundler.bundle.records import SPEC, record

MANIFEST = Manifest(
    spec={**SPEC, "models": [{"name": "digits", "source": "m.py:make"}]},
    models={"digits": {2: record(), 10: record(opset=20, largest_batch=4)}},
    files={"models/digits/2/saved_model.pb": FileEntry(3, "ab" * 32)},
    tools={"python": "3.11.9"},
)


def test_a_manifest_reads_back_as_it_was_written() -> None:
    assert Manifest.from_bytes(MANIFEST.to_bytes(), where="bundle.json") == MANIFEST
    assert MANIFEST.versions("digits") == [2, 10]


def test_flipping_any_byte_of_bundle_json_is_noticed() -> None:
    data = MANIFEST.to_bytes()
    for position in range(len(data)):
        for bit in (0x01, 0x20, 0x80):
            flipped = bytearray(data)
            flipped[position] ^= bit
            with pytest.raises(VerifyError, match=r"bundle\.json"):
                Manifest.from_bytes(bytes(flipped), where="bundle.json")


def test_whitespace_at_the_end_is_noticed() -> None:
    with pytest.raises(VerifyError, match="not in the form"):
        Manifest.from_bytes(MANIFEST.to_bytes() + b"\n", where="bundle.json")


def test_a_path_that_leads_out_of_the_bundle_is_refused() -> None:
    for path in ("../x", "/etc/passwd", "models/../../x"):
        bad = Manifest(spec=SPEC, files={path: FileEntry(0, "00" * 32)}).to_bytes()
        with pytest.raises(VerifyError, match="leads out of the bundle"):
            Manifest.from_bytes(bad, where="bundle.json")


def test_another_schema_is_refused_by_name() -> None:
    data = MANIFEST.to_bytes().replace(b"tfbundle/1", b"tfbundle/9")
    with pytest.raises(VerifyError, match="tfbundle/9"):
        Manifest.from_bytes(data, where="bundle.json")


def test_non_finite_numbers_become_text() -> None:
    manifest = Manifest(spec=SPEC, models={"m": {1: record(error=[float("inf"), float("nan"), 1.0])}})
    read = Manifest.from_bytes(manifest.to_bytes(), where="x")
    assert read.models["m"][1]["error"] == ["inf", "nan", 1.0]


def test_adding_and_removing_versions_returns_new_manifests() -> None:
    more = MANIFEST.with_version("minilm", 1, {"opset": 18})
    assert (more.versions("minilm"), more.versions("digits")) == ([1], [2, 10])
    less = more.without_version("minilm", 1).without_version("digits", 2)
    assert list(less.models) == ["digits"]
    assert less.versions("digits") == [10]
    assert MANIFEST.versions("digits") == [2, 10], "manifests are values: the first one stays as it was"


def test_file_entry_is_size_and_sha256(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abc")
    assert FileEntry.of(tmp_path / "f") == FileEntry(
        3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )


def test_tool_versions_are_those_installed() -> None:
    versions = tool_versions()
    assert set(versions) == {"python", "tfbundle", "torch", "tensorflow", "onnx", "onnxruntime"}
    assert versions["torch"].startswith("2.")
