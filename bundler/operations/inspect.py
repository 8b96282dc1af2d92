"""Facts of a model file or folder: signatures, operators and sizes. Files are only read, and no model is run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bundler.bundle.manifest import files_under
from bundler.errors import UsageError, VerifyError
from bundler.process.extras import require
from bundler.saved_model import summarize
from bundler.saved_model.releases import parse_target
from bundler.tflite.delegates import chosen, readiness
from bundler.tflite.delegation import delegation
from bundler.tflite.runtimes import RuntimeRequirements, requirements_of
from bundler.validation.bundle import Bundle
from bundler.validation.target import TargetFit, saved_model_fit, version_fit
from bundler.validation.unsafe import saved_model_uses, tflite_uses, unsafe_parts
from bundler.values.signature import Signature, TensorSpec


@dataclass(frozen=True)
class ModelFacts:
    """Facts of a model file or folder.

    Attributes:
        path: The path as given.
        kind: `saved_model`, `onnx` or `tflite`.
        size_bytes: The size of the file including external data, or of the whole folder.
        signatures: The signatures by name.
        ops: The number of operators by type, most frequent first.
        details: Facts that only this kind has, such as the opset or the TensorFlow version.
        transposes: For a SavedModel, the number of transposes by signature.
        unsafe: What the model does besides computing, such as reading files; empty for most models.
        metadata: For a .tflite file, its ModelMetadata table (`bundler.mobile.metadata_schema`).
        requirements: For a .tflite file, the runtimes that run it.
    """

    path: str
    kind: str
    size_bytes: int
    signatures: dict[str, Signature]
    ops: dict[str, int]
    details: dict[str, Any] = field(default_factory=dict)
    transposes: dict[str, int] | None = None
    metadata: dict[str, Any] | None = None
    unsafe: tuple[str, ...] = ()
    requirements: RuntimeRequirements | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the facts as `tfbundle inspect --json` prints them."""
        facts = {**asdict(self), "signatures": {name: s.to_json() for name, s in self.signatures.items()}}
        facts["requirements"] = self.requirements.to_json() if self.requirements else None
        return {key: value for key, value in facts.items() if value is not None}


def inspect_bundle(bundle: Bundle) -> dict[str, Any]:
    """Return what bundle.json records, and for each version what its files do besides computing (`unsafe`)."""
    facts = bundle.inspect()
    for name, model in facts["models"].items():
        for number, version in model["versions"].items():
            version["unsafe"] = [str(part) for part in unsafe_parts(bundle.layout, name, int(number))]
    return facts


def inspect_target(path: Path, target: str) -> dict[str, TargetFit]:
    """Return whether a release of TensorFlow Serving can serve a bundle's versions, or a SavedModel.

    Args:
        path: A bundle or a SavedModel folder.
        target: The release, such as `tensorflow-serving==2.13`.

    Returns:
        The verdict by `MODEL/VERSION`, or by the path of the SavedModel.

    Raises:
        UsageError: The target is not known, or `path` is neither of the two.
        VerifyError: A SavedModel is missing or damaged.
    """
    release, kind = parse_target(target), kind_of(path)
    if kind == "saved_model":
        return {str(path): saved_model_fit(path, release)}
    if kind != "bundle":
        raise UsageError(
            f"--target works with a bundle or a SavedModel folder; {path} is an .{kind} file.", code="TFB1002"
        )
    bundle = Bundle.open(path)
    return {
        f"{model}/{number}": version_fit(bundle.layout, model, number, release)
        for model in bundle.models()
        for number in bundle.versions(model)
    }


def inspect_delegates(path: Path, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return how much of .tflite files XNNPACK (measured) and other delegates (by their lists) take.

    Args:
        path: A .tflite file, or a folder with such files: a bundle or an export.
        names: Names of the delegates; empty for all.

    Returns:
        By the file's path relative to `path`: `XNNPACK`, a `Delegation`, and the `Readiness` of each delegate by name.

    Raises:
        UsageError: A delegate is unknown, or there is no .tflite file.
        VerifyError: A file cannot be read.
        TfliteError: LiteRT cannot prepare a file.
    """
    require("serve", "The inspection of a .tflite file")
    delegates = chosen(names)
    files = sorted(path.rglob("*.tflite")) if path.is_dir() else [path] if path.suffix == ".tflite" else []
    if not files or not files[0].exists():
        raise UsageError(
            f"{path} has no .tflite file.", fix="give a .tflite file, or a folder with such files", code="TFB1005"
        )
    found = {}
    for file in files:
        rows = {each.delegate.name: each for each in readiness(file.read_bytes(), delegates)}
        found[str(file.relative_to(path) if path.is_dir() else file)] = {"XNNPACK": delegation(file), **rows}
    return found


def kind_of(path: Path) -> str:
    """Return `bundle`, `saved_model`, `onnx` or `tflite`, depending on what `path` is.

    Raises:
        UsageError: `path` does not exist, or is none of these.
    """
    if not path.exists():
        raise UsageError(f"{path} does not exist.", fix="check the path", code="TFB1005")
    if path.is_dir():
        if (path / "bundle.json").is_file():
            return "bundle"
        if (path / "saved_model.pb").is_file():
            return "saved_model"
    elif path.suffix in (".onnx", ".tflite"):
        return path.suffix[1:]
    raise UsageError(
        f"{path} is not a bundle, a SavedModel, an .onnx file or a .tflite file.",
        fix="give the folder with bundle.json or saved_model.pb, or the model file itself",
        code="TFB1005",
    )


def inspect_model(path: Path) -> ModelFacts:
    """Return the facts of a SavedModel folder, an .onnx file or a .tflite file.

    Raises:
        UsageError: `path` is none of these.
        VerifyError: The SavedModel or TFLite file cannot be read.
        ConversionError: The ONNX file cannot be read.
    """
    readers = {"saved_model": _saved_model, "onnx": _onnx, "tflite": _tflite}
    kind = kind_of(path)
    if kind not in readers:
        raise UsageError(f"{path} is a {kind}, not a model.", code="TFB1005")
    return readers[kind](path)


def _most_frequent(names: Any) -> dict[str, int]:
    return dict(sorted(Counter(names).items(), key=lambda item: (-item[1], item[0])))


def _saved_model(path: Path) -> ModelFacts:
    from google.protobuf.message import DecodeError

    from serving.protocol.messages import message

    saved = message("tensorflow.SavedModel")()
    try:
        saved.ParseFromString((path / "saved_model.pb").read_bytes())
    except (DecodeError, OSError) as exc:
        raise VerifyError(f"{path / 'saved_model.pb'} is not a SavedModel: {exc}.", code="TFB5106") from exc
    if not saved.meta_graphs:
        raise VerifyError(f"{path / 'saved_model.pb'} is not a SavedModel: it has no graph.", code="TFB5106")
    graph = saved.meta_graphs[0]
    nodes = [node.op for node in graph.graph_def.node]
    nodes += [node.op for function in graph.graph_def.library.function for node in function.node_def]
    signatures = summarize.read_signatures(graph)
    details = {
        "tensorflow": graph.meta_info_def.tensorflow_version,
        "products": [f"{count} in {dtype}" for dtype, count in summarize.products(graph).items()],
        "tags": list(graph.meta_info_def.tags),
        "warm_up": (path / "assets.extra" / "tf_serving_warmup_requests").is_file(),
    }
    bytes_total = sum(file.stat().st_size for file in files_under(path))
    transposes = {name: summarize.transposes(graph, name) for name in signatures}
    unsafe = tuple(map(str, saved_model_uses(path)))
    return ModelFacts(
        str(path), "saved_model", bytes_total, signatures, _most_frequent(nodes), details, transposes, unsafe=unsafe
    )


def _onnx(path: Path) -> ModelFacts:
    require("onnx", "The inspection of an .onnx file")
    from bundler.graph.onnx_signature import load_graph, opset_of, signature_of

    model = load_graph(path)
    names = [
        node.op_type if not node.domain else f"{node.domain}.{node.op_type}" for node in model.graph.node
    ]
    external_files = {
        entry.value
        for tensor in model.graph.initializer
        for entry in tensor.external_data
        if entry.key == "location"
    }
    total = path.stat().st_size + sum((path.parent / name).stat().st_size for name in external_files)
    details = {
        "opset": opset_of(model),
        "ir_version": model.ir_version,
        "producer": f"{model.producer_name} {model.producer_version}".strip(),
        "external_data": sorted(external_files),
    }
    return ModelFacts(
        str(path), "onnx", total, {"graph": signature_of(model)}, _most_frequent(names), details
    )


def _tflite(path: Path) -> ModelFacts:
    require("serve", "The inspection of a .tflite file")
    from ai_edge_litert.interpreter import Interpreter

    unsafe = tflite_uses(path)
    try:
        interpreter = Interpreter(model_path=str(path), num_threads=1)
    except (ValueError, RuntimeError) as exc:
        raise VerifyError(f"{path} is not a TFLite file: {exc}.", code="TFB5106") from exc
    from bundler.tflite.inspection import read_contents

    contents = read_contents(path)
    runners = {name: interpreter.get_signature_runner(name) for name in interpreter.get_signature_list()}
    signatures = {
        name: Signature(_tflite_specs(runner.get_input_details()), _tflite_specs(runner.get_output_details()))
        for name, runner in runners.items()
    }
    details = {
        "weights": contents.weights,
        "runtime": contents.runtime,
        "serving": list(contents.serving),
        "files": contents.files,
    }
    return ModelFacts(
        str(path),
        "tflite",
        path.stat().st_size,
        signatures,
        contents.ops,
        details,
        metadata=contents.metadata,
        unsafe=tuple(map(str, unsafe)),
        requirements=requirements_of(path.read_bytes()),
    )


def _tflite_specs(details: dict[str, Any]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(name, _tflite_dtype(row), _tflite_dims(row)) for name, row in details.items())


def _tflite_dtype(row: dict[str, Any]) -> str:
    import numpy as np

    dtype = np.dtype(row["dtype"])
    return "string" if dtype.kind in "SO" else dtype.name


def _tflite_dims(row: dict[str, Any]) -> tuple[int | None, ...]:
    return tuple(None if size < 0 else int(size) for size in row["shape_signature"])
