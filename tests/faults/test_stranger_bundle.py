"""A bundle from a stranger: whatever is in its bundle.json, each command explains itself and writes nothing outside."""

from __future__ import annotations

import copy
import json
import pickle
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bundler.bundle import manifest as manifest_module
from bundler.bundle.manifest import MAX_DEPTH, Manifest
from bundler.errors import TfbundleError, VerifyError
from bundler.validation.bundle import Bundle
from serving.errors import GoldenError, ServingError
from serving.golden.data import Golden
from tests.bundler.cli.commands import run as tfbundle
from tests.faults.test_hostile_journal import tree

REMOVED = object()
DEEP: Any = None
for _ in range(MAX_DEPTH + 10):
    DEEP = [DEEP]
VALUES: tuple[Any, ...] = (
    REMOVED, None, True, -1, 0, 2**63, 10**400, 1e308, 0.5, "", "../../../etc", "/etc/passwd", "a\x00b", "\x1b[31m", "x" * 5000,
    [], ["x"], [None], {}, {"x": {}}, DEEP,
)  # fmt: skip


def small_content(bundle: Path) -> dict[str, Any]:
    """Return the content of a real bundle.json with its long lists cut, and with a promotion."""
    content: dict[str, Any] = json.loads((bundle / "bundle.json").read_text("utf-8"))
    del content["digest"]
    kept = ("models/mlp/1/saved_model.pb", "golden/mlp/1.npz", "tflite/mlp/1/mlp-float32.tflite", "serving/models.config")
    content["files"] = {path: content["files"][path] for path in kept}
    record = content["models"]["mlp"]["versions"]["1"]
    record["parity"]["results"] = record["parity"]["results"][:1]
    record["parity"]["summary"] = record["parity"]["summary"][:1]
    record["tflite"]["float32"]["error"] = record["tflite"]["float32"]["error"][:1]
    record["tflite_refused"] = {"int8": {"reason": "r", "below_gate": True, "layers": [{"layer": "a", "sqnr_db": "inf"}]}}
    content["spec"]["serving"]["labels"] = {"mlp": {"stable": 1}}
    entry = {"at": "now", "kind": "promote", "model": "mlp", "label": "stable", "before": None, "version": 1}
    content["promotions"] = [entry]
    return content


def places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield the path of each value in the content."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from places(item, (*path, key))


def mutant(content: dict[str, Any], path: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(content)
    parent: Any = changed
    for key in path[:-1]:
        parent = parent[key]
    if value is REMOVED:
        del parent[path[-1]]
    else:
        parent[path[-1]] = value
    return changed


def renamed_keys(content: dict[str, Any]) -> Iterator[tuple[tuple[str | int, ...], Callable[[], dict[str, Any]]]]:
    """Yield each key's path with a function that returns the content with that key renamed to something hostile."""
    for path in places(content):
        if isinstance(path[-1], str):
            for key in ("../../../etc", "/etc/passwd", "a\x00b", "-1", "01", "9" * 5000, ""):
                yield path, lambda path=path, key=key: with_key(content, path, key)


def with_key(content: dict[str, Any], path: tuple[str | int, ...], key: str) -> dict[str, Any]:
    changed = copy.deepcopy(content)
    parent: Any = changed
    for part in path[:-1]:
        parent = parent[part]
    parent[key] = parent.pop(path[-1])
    return changed


def signed(content: dict[str, Any]) -> bytes:
    """Return the bytes that a stranger would write: canonical, with the right digest."""
    return manifest_module._canonical({**content, "digest": manifest_module._digest(content)})


def mutants(content: dict[str, Any], step: int) -> Iterator[tuple[str, bytes]]:
    """Yield every `step`th mutant as the part of the file that differs, and the bytes. `step` is coprime with len(VALUES)."""
    changes = [
        (path, lambda path=path, value=value: mutant(content, path, value)) for path in places(content) for value in VALUES
    ]
    changes += [(path, make) for path, make in renamed_keys(content)]
    for path, make in changes[::step]:
        yield str(path[0] if path[0] != "spec" else path[min(1, len(path) - 1)]), signed(make())


@pytest.fixture
def bundle(small_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small_bundle, tmp_path / "outer" / "bundle"))


def commands(root: Path, out: Path) -> dict[str, Callable[[Bundle], object]]:
    """Return what each command does with a bundle before it starts a server or runs a model."""
    from bundler.cli.serve import _options
    from bundler.mobile.model import read_model
    from bundler.operations.bench import bench_request
    from bundler.operations.launch import deployment
    from bundler.operations.smoke import served_golden_files
    from bundler.render import report, tf_serving
    from bundler.render.parts import render_context

    def context(bundle: Bundle) -> Any:
        return render_context("x", bundle.manifest)

    return {
        "inspect": lambda bundle: json.dumps(bundle.inspect()),
        "verify": lambda bundle: list(map(str, bundle.verify(parity=False))),
        "serve": lambda bundle: _options([str(root)], []),
        "launch": lambda bundle: deployment(bundle, context(bundle), host="h", grpc_port=None, rest_port=None),
        "smoke": served_golden_files,
        "bench": bench_request,
        "export-mobile": lambda bundle: [read_model(bundle, name, None, ()) for name in bundle.models()],
        "render serving": lambda bundle: tf_serving.config_files(context(bundle), "/models"),
        "render report": lambda bundle: report.render(context(bundle), out),
    }


READERS = {
    "models": ("inspect", "bench", "export-mobile", "render report"),
    "files": ("inspect", "verify", "export-mobile"),
    "tools": ("inspect", "render report"),
    "promotions": ("inspect", "render serving"),
    "serving": ("serve", "launch", "smoke"),
    "kubernetes": ("render serving",),
    "docker": ("render serving",),
}
"""The part of bundle.json that was changed, to the commands that read it; all commands for other parts."""


def unexpected(name: str, call: Callable[[Bundle], object], root: Path) -> str | None:
    try:
        call(Bundle.open(root))
    except (TfbundleError, ServingError) as exc:
        assert len(str(exc)) < 10_000
        return None
    except Exception as exc:  # noqa: BLE001  # the test reports whatever a command raises
        return f"{name}: {type(exc).__name__}: {exc}"
    return None


@pytest.mark.parametrize("step", [12, pytest.param(1, marks=[pytest.mark.slow, pytest.mark.timeout(900)])])
def test_no_mutant_of_bundle_json_ends_in_an_unexpected_error(bundle: Path, tmp_path: Path, step: int) -> None:
    refused, accepted, problems = 0, 0, set()
    out = tmp_path / "out"
    out.mkdir()
    calls = commands(bundle, out)
    for part, data in mutants(small_content(bundle), step):
        try:
            Manifest.from_bytes(data, where="bundle.json")
        except VerifyError as exc:
            refused += 1
            assert exc.what.startswith("bundle.json") and len(exc.what) < 2000
            continue
        (bundle / "bundle.json").write_bytes(data)
        accepted += 1
        names = READERS.get(part, tuple(calls))
        if step > 1:
            names = (names[accepted % len(names)],)
        problems |= {problem for name in names if (problem := unexpected(name, calls[name], bundle))}
    assert problems == set()
    assert refused * step > 3000 and accepted * step > 1000
    assert {path.name for path in tmp_path.iterdir()} == {"outer", "out"}
    assert [path.name for path in (tmp_path / "outer").iterdir()] == ["bundle"]


def raw(bundle: Path, change: Callable[[bytes], bytes]) -> None:
    path = bundle / "bundle.json"
    path.write_bytes(change(path.read_bytes()))


FILES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda data: b"", "is not JSON"),
    "not UTF-8": (lambda data: b"\xff\xfe" + data, "is not JSON"),
    "UTF-16": (lambda data: data.decode().encode("utf-16"), "is not JSON"),
    "duplicate key": (lambda data: data.replace(b'"spec": {', b'"spec": {},\n  "spec": {', 1), "the key 'spec' occurs twice"),
    "NaN": (lambda data: data.replace(b'"opset": 18', b'"opset": NaN'), "NaN is not a number"),
    "infinite number": (lambda data: data.replace(b'"opset": 18', b'"opset": 1e999'), "the number 1e999 is too large"),
    "huge integer": (lambda data: data.replace(b'"opset": 18', b'"opset": ' + b"9" * 10**6), "is not JSON"),
    "deep nesting": (lambda data: b'{"a":' * 200_000, "levels deep"),
    "deep but parsed": (lambda data: b'{"schema": "tfbundle/1", "a":' + b"[" * 100 + b"]" * 100 + b"}", "levels deep"),
    "huge key": (lambda data: data.replace(b'"opset"', b'"' + b"k" * 5000 + b'"', 1), "is longer than 4096 characters"),
    "lone surrogate": (lambda data: data.replace(b'"created": "2', b'"created": "\\ud800'), "not Unicode"),
    "a list": (lambda data: b"[]", "is not a JSON object"),
    "another schema": (lambda data: data.replace(b"tfbundle/1", b"tfbundle/2"), "has the schema 'tfbundle/2'"),
    "no schema": (lambda data: b"{}", "has the schema None"),
    "too large": (lambda data: b" " * (64 << 20) + data, "larger than 64 MiB"),
}


@pytest.mark.parametrize(("change", "words"), FILES.values(), ids=FILES)
def test_a_file_that_is_no_manifest_is_explained_by_each_command(
    bundle: Path, tmp_path: Path, change: Callable[[bytes], bytes], words: str
) -> None:
    raw(bundle, change)
    before = tree(bundle)
    lines: list[tuple[object, ...]] = [
        ("inspect", bundle), ("verify", bundle), ("serve", bundle), ("launch", bundle), ("render", bundle), ("promote", bundle),
        ("promote", bundle, "--label", "stable", "--version", 1), ("smoke", "localhost:1", "--bundle", bundle),
        ("bench", "localhost:1", "--bundle", bundle), ("bench", "--bundle", bundle, "--advise", tmp_path / "advice"),
        ("export-mobile", bundle, "-o", tmp_path / "app"), ("verify", bundle, "--repair"),
    ]  # fmt: skip
    for line in lines:
        done = tfbundle(*line, code=1)
        assert words in done.stderr and "bundle.json" in done.stderr, done.stderr
        assert "Unexpected" not in done.stderr
    assert tree(bundle) == before
    assert not (tmp_path / "app").exists() and not (tmp_path / "advice").exists()


def test_the_message_names_file_and_field(bundle: Path) -> None:
    content = small_content(bundle)
    content["models"]["mlp"]["versions"]["1"]["opset"] = "18"
    del content["spec"]["serving"]["grpc_port"]
    (bundle / "bundle.json").write_bytes(signed(content))
    done = tfbundle("inspect", bundle, code=1)
    assert f"{bundle}/bundle.json is damaged" in done.stderr.replace("\n", "")
    assert "models.mlp.versions.1.opset: input should be a valid integer" in done.stderr
    assert "spec.serving.grpc_port: field required" in done.stderr


def test_keys_of_a_later_version_are_kept_where_rewriting_keeps_them(bundle: Path) -> None:
    content = json.loads((bundle / "bundle.json").read_text("utf-8"))
    content["models"]["mlp"]["versions"]["1"]["later"] = {"figure": 1}
    content["spec"]["models"][0]["later"] = True
    del content["digest"]
    (bundle / "bundle.json").write_bytes(signed(content))
    assert Bundle.open(bundle).record("mlp")["later"] == {"figure": 1}
    for path in ((), ("models", "mlp"), ("files", "report.html")):
        (bundle / "bundle.json").write_bytes(signed(with_new_key(content, path)))
        with pytest.raises(VerifyError, match=r"later: extra inputs are not permitted"):
            Bundle.open(bundle)


def with_new_key(content: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    changed = copy.deepcopy(content)
    parent = changed
    for key in path:
        parent = parent[key]
    parent["later"] = 1
    return changed


@pytest.mark.parametrize("name", ["../../../etc", "/etc", "..", ".", "a/b", "a\\000b"])
def test_serve_polls_no_folder_outside_the_bundle(bundle: Path, name: str) -> None:
    config = bundle / "serving" / "models.config"
    config.write_text(config.read_text().replace('name: "mlp"', f'name: "{name}"'))
    done = tfbundle("serve", bundle, "--port=18500", "--rest_api_port=18501", code=2)
    assert "cannot be a folder in models/" in done.stderr.replace("\n", " ")


@pytest.mark.parametrize(
    "content",
    [b"", b"PK\x03\x04", b"x" * 100, pickle.dumps([1]), b"\x93NUMPY\x01\x00"],
    ids=["empty", "zip", "text", "pickle", "npy"],
)
def test_hostile_golden_data_are_explained(bundle: Path, content: bytes) -> None:
    (bundle / "golden" / "mlp" / "1.npz").write_bytes(content)
    for line in (("bench", "localhost:1", "--bundle", bundle), ("verify", bundle)):
        assert "Unexpected" not in tfbundle(*line, code=1).stderr


def test_golden_data_with_a_hostile_description_are_refused(tmp_path: Path) -> None:
    for meta in ("[]", "{}", "1", '{"cases": [1]}', '{"cases": [{"signature": 1}]}', "[" * 100_000, '{"cases": [], "model": 1}'):
        np.savez(tmp_path / "g.npz", __meta__=np.array(meta))
        with pytest.raises(GoldenError, match="cannot be read"):
            Golden.load(tmp_path / "g.npz")


def test_tensors_of_a_tflite_file_that_bundle_json_does_not_name_are_explained(bundle: Path, tmp_path: Path) -> None:
    content = json.loads((bundle / "bundle.json").read_text("utf-8"))
    del content["digest"]
    (record,) = (version for model in content["models"].values() for version in model["versions"].values())
    signature = next(iter(record["signatures"].values()))
    signature["outputs"][0]["name"] = "renamed"
    (bundle / "bundle.json").write_bytes(signed(content))
    done = tfbundle("export-mobile", bundle, "-o", tmp_path / "mobile", code=1)
    assert "wrongly" in done.stderr and "renamed" not in done.stdout
    assert not (tmp_path / "mobile").exists() or not list((tmp_path / "mobile").iterdir())
