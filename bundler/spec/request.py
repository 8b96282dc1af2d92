"""From what a user asks for (a source and options, or a bundle.yaml) to a spec and its folders."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bundler.bundle.layout import check_model_name
from bundler.errors import UsageError
from bundler.values.signature import TensorSpec

if TYPE_CHECKING:
    from bundler.spec.bundle_spec import BundleSpec

DIST = Path("dist")
_BATCH = "batch"
_TFLITE_OPTIONS = (
    "variants", "calibration", "allow_random_calibration", "images", "batch", "dims", "shapes", "io_type", "float_layers",
    "auto_mix", "select_tf_ops", "evaluate", "max_drop", "min_sqnr", "min_top1",
)  # fmt: skip


@dataclass(frozen=True)
class BuildRequest:
    """What to build, where relative paths start, and where the bundle goes."""

    spec: BundleSpec
    base: Path
    out: Path


def make_request(source: str, out: Path | None, options: Mapping[str, Any]) -> BuildRequest:
    """The request for a source with options, or for a bundle.yaml.

    Args:
        source: as in `ModelSpec.source`, or the path of a .yaml file.
        options: fields of ModelSpec that the user gave, and those of its tflite; `dims` with the batch among them.

    Raises:
        UsageError: options beside a bundle.yaml, or a wrong one.
        SpecError: the bundle.yaml or an option does not follow the schema.
    """
    if source.endswith((".yaml", ".yml")):
        return _from_file(Path(source), out, options)
    from bundler.spec.bundle_spec import parse_spec

    model = model_fields(source, options)
    spec = parse_spec({"models": [model]}, where=f"the options given for {source}")
    return BuildRequest(spec, Path.cwd(), out or DIST / model["name"])


def _from_file(path: Path, out: Path | None, options: Mapping[str, Any]) -> BuildRequest:
    from bundler.spec.bundle_spec import read_spec

    if options:
        names = ", ".join(sorted(options))
        raise UsageError(
            f"Beside a bundle.yaml, options of a model have no place: {names}.",
            where=str(path),
            fix="write them into the bundle.yaml, or give the model itself as the source",
        )
    spec = read_spec(path)
    base = path.resolve().parent
    name = spec.models[0].name if len(spec.models) == 1 else base.name
    return BuildRequest(spec, base, out or DIST / name)


def model_fields(source: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a ModelSpec, with a name taken from the source where none is given."""
    fields = {key: value for key, value in options.items() if key not in _TFLITE_OPTIONS}
    fields["name"] = check_model_name(fields.get("name") or default_name(source))
    fields["source"] = source
    for text in fields.get("inputs", ()):
        TensorSpec.parse(text)
    tflite = {key: options[key] for key in _TFLITE_OPTIONS if key in options}
    if "dims" in tflite:
        sizes = dict(tflite.pop("dims"))
        if _BATCH in sizes:
            tflite["batch"] = sizes.pop(_BATCH)
        tflite["dims"] = sizes
    return fields | ({"tflite": tflite} if tflite else {})


def default_name(source: str) -> str:
    """A model name from its source: `nets/digits.py:make` -> digits, `hf:org/mini-lm` -> mini-lm.

    Raises:
        UsageError: nothing of the source can be a name.
    """
    scheme, _, rest = source.partition(":")
    path = rest if scheme in ("timm", "hf", "python") else scheme
    stem = Path(path.rstrip("/")).name
    if scheme != "timm":
        stem = (
            Path(stem).stem
            if Path(stem).suffix in (".py", ".onnx", ".pt", ".pt2", ".pth", ".safetensors")
            else stem
        )
    name = re.sub(r"[^A-Za-z0-9_.\-]+", "-", stem).strip("-_.")
    name = re.sub(r"\.{2,}", ".", name)[:63]
    if not name:
        raise UsageError(
            f"No model name can be taken from the source {source!r}.", fix="give one with --name"
        )
    return name


def parse_names(text: str) -> tuple[str, ...]:
    """`a, b` -> (a, b)."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def parse_dims(text: str) -> dict[str, int]:
    """`batch=1,seq=64` -> {batch: 1, seq: 64}.

    Raises:
        UsageError: not of this form.
    """
    sizes = {}
    for part in parse_names(text):
        name, _, size = part.partition("=")
        if not name.isidentifier() or not size.isdecimal() or int(size) < 1:
            raise UsageError(
                f"The size {part!r} does not have the form name=number.", fix="write it like batch=1,seq=64"
            )
        sizes[name] = int(size)
    return sizes


def parse_counts(text: str) -> tuple[int, ...]:
    """`1,4,16` -> (1, 4, 16).

    Raises:
        UsageError: not whole numbers of 1 or more.
    """
    parts = parse_names(text)
    if not parts or not all(part.isdecimal() and int(part) for part in parts):
        raise UsageError(f"{text!r} is not a list of numbers of 1 or more.", fix="write it like 1,4,16")
    return tuple(map(int, parts))


def parse_numbers(text: str) -> tuple[float, ...]:
    """`0.5, 1` -> (0.5, 1.0).

    Raises:
        UsageError: not finite numbers.
    """
    try:
        found = tuple(float(part) for part in parse_names(text))
    except ValueError:
        found = (math.nan,)
    if not all(math.isfinite(number) for number in found):
        raise UsageError(f"{text!r} is not a list of numbers.", fix="write it like 123.7,116.3,103.5")
    return found


def parse_shapes(texts: Sequence[str]) -> dict[str, dict[str, int]]:
    """`long:seq=256` -> {long: {seq: 256}}.

    Raises:
        UsageError: not of this form.
    """
    shapes = {}
    for text in texts:
        name, colon, sizes = text.partition(":")
        if not colon or not name.isidentifier() or not sizes:
            raise UsageError(f"The shape {text!r} does not have the form NAME:dim=number.", fix="write it like long:seq=256")
        shapes[name] = parse_dims(sizes)
    return shapes


def parse_signatures(texts: Sequence[str]) -> dict[str, dict[str, str]]:
    """`embed=encode` -> {embed: {method: encode}}; a name alone is its method too.

    Raises:
        UsageError: not of this form.
    """
    out = {}
    for text in texts:
        name, _, method = text.partition("=")
        if not name.isidentifier() or not (method or name).isidentifier():
            raise UsageError(
                f"The signature {text!r} does not have the form NAME=METHOD.",
                fix="write it like embed=encode",
            )
        out[name] = {"method": method or name}
    return out
