"""A build request: from a source with options, or a bundle.yaml, to a spec and its folders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bundler.errors import SpecError, UsageError
from bundler.spec.model_names import default_name

if TYPE_CHECKING:
    from bundler.spec.bundle_spec import BundleSpec

DIST = Path("dist")
_BATCH = "batch"


@dataclass(frozen=True)
class BuildRequest:
    """A validated build.

    Attributes:
        spec: what to build.
        base: folder that relative paths of the spec start from.
        out: folder of the bundle.
    """

    spec: BundleSpec
    base: Path
    out: Path


def make_request(source: str, out: Path | None, options: Mapping[str, Any]) -> BuildRequest:
    """Return the request for a source with options, or for a bundle.yaml.

    Args:
        source: as in `ModelSpec.source`, or the path of a .yaml file.
        out: folder of the bundle; None: dist/<name>.
        options: the options that the user gave, by keyword of `bundler.build` or by field of ModelSpec and TfliteSpec.

    Raises:
        UsageError: if options are given together with a bundle.yaml.
        SpecError: if the bundle.yaml or an option does not follow the schema.
    """
    if source.endswith((".yaml", ".yml")):
        return _from_file(Path(source), out, options)
    from bundler.spec.bundle_spec import parse_spec

    model = _model_fields(source, options)
    spec = parse_spec({"models": [model]}, where=_where(source), show_keys=False)
    return BuildRequest(spec, Path.cwd(), out or DIST / model["name"])


def check_options(options: Mapping[str, Any]) -> None:
    """Validate options outside a build, by keyword of `bundler.build`.

    Raises:
        SpecError: as `make_request` does.
    """
    make_request("model", None, options)


def _from_file(path: Path, out: Path | None, options: Mapping[str, Any]) -> BuildRequest:
    from bundler.spec.bundle_spec import read_spec

    if options:
        names = ", ".join(sorted(options))
        raise UsageError(
            f"Options of a model are not allowed with a bundle.yaml: {names}.",
            where=str(path),
            fix="write them into the bundle.yaml, or give the model itself as the source",
            code="TFB1001",
        )
    spec = read_spec(path)
    base = path.resolve().parent
    name = spec.models[0].name if len(spec.models) == 1 else base.name
    return BuildRequest(spec, base, out or DIST / name)


def _model_fields(source: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a ModelSpec; a missing name is inferred from the source.

    Raises:
        SpecError: if there is no option of a given name.
        UsageError: if no name can be inferred.
    """
    from bundler.spec.bundle_spec import ADVICE
    from bundler.spec.options import build_options, keywords, split_options
    from bundler.spec.problems import unknown_key

    known = {*keywords(), *(option.name for option in build_options())}
    unknown = [unknown_key(key, keywords()) for key in options if key not in known]
    if unknown:
        raise SpecError("\n".join(unknown), where=_where(source), fix=ADVICE, code="TFB1103")
    fields, tflite = split_options(options)
    fields["name"] = fields.get("name") or default_name(source)
    fields["source"] = source
    if isinstance(tflite.get("dims"), Mapping) and _BATCH in tflite["dims"]:
        tflite["dims"] = dict(tflite["dims"])
        tflite["batch"] = tflite["dims"].pop(_BATCH)
    return fields | ({"tflite": tflite} if tflite else {})


def _where(source: str) -> str:
    return f"the options given for {source}"
