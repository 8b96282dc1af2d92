"""A bundle from a stranger: whatever is in its bundle.json, each command explains itself and writes nothing outside."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bundler.bundle import manifest as manifest_module
from bundler.bundle.manifest import MAX_DEPTH, Manifest
from bundler.cli.app import app
from bundler.errors import TfbundleError, VerifyError
from bundler.validation.bundle import Bundle
from serving.errors import ServingError

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


def renamed_keys(content: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the content with one key renamed to something hostile."""
    for path in places(content):
        if isinstance(path[-1], str):
            for key in ("../../../etc", "/etc/passwd", "a\x00b", "-1", "01", "9" * 5000, ""):
                value: Any = content
                for part in path:
                    value = value[part]
                changed = mutant(content, path, REMOVED)
                parent: Any = changed
                for part in path[:-1]:
                    parent = parent[part]
                parent[key] = value
                yield changed


def signed(content: dict[str, Any]) -> bytes:
    """Return the bytes that a stranger would write: canonical, with the right digest."""
    return manifest_module._canonical({**content, "digest": manifest_module._digest(content)})


def mutants(content: dict[str, Any]) -> Iterator[bytes]:
    for path in places(content):
        for value in VALUES:
            yield signed(mutant(content, path, value))
    for changed in renamed_keys(content):
        yield signed(changed)


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


def unexpected(name: str, call: Callable[[Bundle], object], root: Path) -> str | None:
    try:
        call(Bundle.open(root))
    except (TfbundleError, ServingError):
        return None
    except Exception as exc:
        return f"{name}: {type(exc).__name__}: {exc}"
    return None


def test_no_mutant_of_bundle_json_ends_in_an_unexpected_error(bundle: Path, tmp_path: Path) -> None:
    accepted, refused, problems = [], 0, set()
    for data in mutants(small_content(bundle)):
        try:
            Manifest.from_bytes(data, where="bundle.json")
        except VerifyError as exc:
            refused += 1
            assert "bundle.json" in exc.what and len(exc.what) < 2000
        else:
            accepted.append(data)
    assert refused > 1500
    out = tmp_path / "out"
    out.mkdir()
    for data in accepted:
        (bundle / "bundle.json").write_bytes(data)
        for name, call in commands(bundle, out).items():
            if problem := unexpected(name, call, bundle):
                problems.add(problem)
    print(refused, len(accepted))
    assert problems == set()
    assert {path.name for path in tmp_path.iterdir()} == {"outer", "out"}
    assert [path.name for path in (tmp_path / "outer").iterdir()] == ["bundle"]
