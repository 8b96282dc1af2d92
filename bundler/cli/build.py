"""tfbundle build."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from bundler.cli.boundary import cleanly_interrupted
from bundler.cli.comparisons import comparison, show_comparisons, worst
from bundler.cli.dry_run import dry_run
from bundler.cli.lazy import LazyCommand
from bundler.cli.output import note, opener, print_json, say, say_next, size, table
from bundler.cli.progress import stages
from bundler.cli.remote import Insecure, changed_folder
from bundler.cli.target import Target
from serving.texts import plural

if TYPE_CHECKING:
    from bundler.spec.request import BuildRequest
    from bundler.validation.bundle import Bundle


class BuildCommand(LazyCommand):
    """The command with the parameters of `build`, and one for each option of a model."""

    def make_function(self) -> Callable[..., None]:
        """Return `build` with a signature that has the options too."""
        from bundler.cli.build_options import option_parameters

        def command(**values: Any) -> None:
            build(**values)

        own = [p for p in inspect.signature(build, eval_str=True).parameters.values() if p.kind is not p.VAR_KEYWORD]
        command.__signature__ = inspect.Signature([*own, *option_parameters()])  # type: ignore[attr-defined]
        return command

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments, with the values of flags that may stand alone."""
        from bundler.cli.build_options import with_bare_values

        return super().parse_args(ctx, list(with_bare_values(args)))


_Sources = Annotated[
    list[str],
    typer.Argument(
        metavar="SOURCE|bundle.yaml...",
        help="file.py:callable, .pt2, .onnx, .pt, .pth, .safetensors, timm:NAME, hf:NAME; or bundle.yaml files, whose models "
        "become one bundle.",
    ),
]
_Output = Annotated[
    str | None,
    typer.Option(
        "--output-dir", "-o", metavar="DIR", help="Folder of the bundle, or an address: s3://bucket/NAME. Default: dist/NAME."
    ),
]
_Version = Annotated[int | None, typer.Option(min=1, help="Number of the new version. Default: the next free one.")]
_DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Export the model, list its operators and every one that would fail. Build nothing."),
]
_Adopt = Annotated[
    bool,
    typer.Option("--adopt", help="Take in the versions of a TensorFlow Serving model repository in the bundle's folder."),
]
_Against = Annotated[
    str | None,
    typer.Option(
        metavar="VERSION|LABEL",
        help="Compare each model with this version; publish nothing if one is worse than its section 'against' allows.",
    ),
]
_Report = Annotated[
    Path | None, typer.Option(help="Also write the report here, even if a comparison refuses the build.")
]


_Jobs = Annotated[
    int | None, typer.Option(min=1, help="Build this many models at the same time, in processes, as memory allows.")
]
_Cache = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Folder of built models, from which unchanged ones are taken. Default: the user's cache."),
]
_Shard = Annotated[
    str | None,
    typer.Option(
        metavar="I/N", help="Build only part I of N of the models, for `tfbundle merge`; job/N takes I from an Indexed Job."
    ),
]


_On = Annotated[
    str | None,
    typer.Option(
        metavar="ray|ray://HOST:PORT", help="Build on a Ray cluster: one on this machine, or the one with this client server."
    ),
]


def build(
    ctx: typer.Context,
    source: _Sources,
    output: _Output = None,
    version: _Version = None,
    dry: _DryRun = False,
    adopt: _Adopt = False,
    jobs: _Jobs = None,
    cache: _Cache = None,
    shard: _Shard = None,
    on: _On = None,
    insecure: Insecure = False,
    against: _Against = None,
    report: _Report = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
    **options: Any,
) -> None:
    """Build a model, or every model of a bundle.yaml, as a new version in a bundle.

    The bundle changes only after everything is built and its answers match PyTorch's (otherwise the exit code is 3).
    TFLite variants and bfloat16 that are below their accuracy gate are left out, and the exit code is 3, too. With --against,
    the exit code is 3 and nothing is published if a model is worse than its version in service.

    With --jobs, --cache, --shard, --on or several files, unchanged models come from the cache, a killed build resumes where it
    was, and models that fail do not stop the others, which are published; the exit code tells.
    """
    from bundler.cli.build_many import build_many
    from bundler.cli.build_options import given_options
    from bundler.operations.many import ManyOptions, expanded
    from bundler.spec.request import make_request
    from bundler.values.addresses import is_remote

    # TensorFlow's allocator for oneDNN never frees memory; a large model needs it back between the stages.
    os.environ.setdefault("TF_ONEDNN_USE_SYSTEM_ALLOCATOR", "1")
    out, many = Path(output) if output and not is_remote(output) else None, ManyOptions(jobs, cache, shard, insecure, on)
    requests = [make_request(each, out, given_options(ctx, options)) for each in expanded(source)]
    if against is not None:
        requests = [replace(request, spec=request.spec.compared_with(against)) for request in requests]
    if dry:
        for each in requests:
            dry_run(each, as_json=as_json)
        return
    place = output if output and is_remote(output) else str(requests[0].out)
    target = Target(place, version, adopt, report, in_file=source[0].endswith((".yaml", ".yml")), as_json=as_json)
    target.check_report()
    if many.is_given or len(requests) > 1:
        build_many(requests, many, target)
    else:
        _build(requests[0], target)


def _build(request: BuildRequest, target: Target) -> None:
    from bundler.errors import ComparisonError, VariantsError
    from bundler.pipeline import build_bundle, stage_count
    from bundler.validation.against import files_in_service

    unchanged = cleanly_interrupted(f"nothing was published; {target.out} is unchanged.")
    opened = changed_folder(target.out, may_be_new=True, adopts=target.adopt, also=files_in_service(request.spec))
    try:
        with unchanged, opened as folder, stages(stage_count(request.spec)) as progress:
            bundle = build_bundle(
                request.spec, folder, base=request.base, version=target.version, progress=progress, adopt=target.adopt
            )
    except VariantsError as exc:
        _show(cast("Bundle", exc.bundle), target)
        raise
    except ComparisonError as exc:
        show_comparisons(exc, target)
        raise
    _show(bundle, target)


def _show(bundle: Bundle, target: Target) -> None:
    for notice in bundle.notices:
        note(notice)
    if target.report is not None:
        target.report.write_bytes(bundle.layout.report.read_bytes())
    if target.as_json:
        print_json(bundle.inspect())
    else:
        summarize(bundle, target.out, in_file=target.in_file)


def summarize(bundle: Bundle, shown: str | Path, *, in_file: bool = False) -> None:
    """Print the newest version of each model in a few lines, and the next commands for the bundle.

    Args:
        bundle: the bundle.
        shown: its path or address as the user gave it.
        in_file: whether the settings are in a bundle.yaml and not on the command line.
    """
    from bundler.values.addresses import is_remote

    for model in bundle.models():
        version = bundle.versions(model)[-1]
        record = bundle.record(model, version)
        say(f"{model} version {version}", style="bold")
        rows = [_saved_model(record, size(bundle.size_bytes(model, version)))]
        for variant, figures in record["tflite"].items():
            error = worst(record, f"tflite-{variant}")
            rows.append((f"TFLite {variant}", size(figures["size_bytes"]), error, _accuracy(figures)))
        for variant, figures in record.get("tflite_refused", {}).items():
            verdict = "below its gate" if figures["below_gate"] else "not built"
            rows.append((f"TFLite {variant}", verdict, "", _accuracy(figures)))
        rows += _fast_path(record)
        table(("artifact", "size", "max relative error", "accuracy"), rows)
        for line in (*_precision_lines(record), *_variant_lines(record), *_fixed_dims(record, in_file=in_file)):
            say(line)
        if "against" in record:
            comparison(model, record["against"])
    say(f"Bundle: {shown}")
    report = bundle.layout.report if is_remote(str(shown)) else Path(shown, "report.html")
    say_next(("tfbundle", "serve", shown), ("tfbundle", "verify", shown), (opener(), report), column=7)


def _saved_model(record: dict[str, Any], shown_size: str) -> tuple[str, str, str, str]:
    """Return the row of the SavedModel that is served."""
    figures = record.get("precision")
    if figures is None or not figures["passed"]:
        return ("SavedModel", shown_size, worst(record, "saved_model"), "")
    return (f"SavedModel {figures['dtype']}", shown_size, worst(record, "saved_model-bfloat16"), _accuracy(figures))


def _fast_path(record: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """Return the row of the model.tflite that a server prefers, if one was requested."""
    if figures := record.get("fast_path"):
        named = f"model.tflite {figures.get('form', 'float32')}"
        return [(named, size(figures["size_bytes"]), worst(record, "tflite-fast-path"), _accuracy(figures))]
    if figures := record.get("fast_path_refused"):
        verdict = "below its gate" if figures["below_gate"] else "not built"
        return [(f"model.tflite {figures['form']}", verdict, "", _accuracy(figures))]
    return []


def _precision_lines(record: dict[str, Any]) -> list[str]:
    """Return the latency in bfloat16 beside that in float32, for the SavedModel and for the server's flag."""
    lines = []
    for key, subject in (("precision", "bfloat16"), ("mixed_precision", "--mixed_precision=bfloat16")):
        figures = record.get(key) or {}
        lower, base = (figures.get("latency_ms", {}).get(name, {}) for name in ("bfloat16", "float32"))
        times = [f"{ms:.3g} ms for {plural(int(rows), 'row')} (float32: {base[rows]:.3g} ms)" for rows, ms in lower.items()]
        if times:
            lines.append(f"{subject}: {', '.join(times)}" + ("" if figures["passed"] else "; not used"))
    return lines


def _fixed_dims(record: dict[str, Any], *, in_file: bool) -> list[str]:
    """Return the line about the dims that have one size; none if all can vary, or for a bundle of an older tfbundle."""
    from bundler.values.fixed_dims import FixedDims

    fixed = FixedDims.from_json(record["fixed_dims"]) if "fixed_dims" in record else FixedDims()
    return [f"Fixed dims: {fixed.explained(in_file=in_file)}"] if fixed.dims else []


def _accuracy(figures: dict[str, Any]) -> str:
    """Return the metric if there is one, or else the worst output's agreement with PyTorch."""
    if "evaluation" in figures:
        measured = figures["evaluation"]
        return f"{measured['value']:.4g} (PyTorch {measured['pytorch']:.4g})"
    outputs = figures.get("accuracy", {}).get("outputs", {}).values()
    ratios = [output["sqnr_db"] for output in outputs if "sqnr_db" in output]
    return f"SQNR {min(ratios):.1f} dB" if ratios else ""


def _variant_lines(record: dict[str, Any]) -> list[str]:
    """Return the images, the calibration data, the speed, the float layers and the notes of the variants, each line once."""
    from bundler.tflite.layers import listed

    lines = []
    for variant, figures in record["tflite"].items():
        if figures.get("pixels"):
            lines.append(f"{figures['pixels']}: the files take pixels of 0 to 255, RGB or grey (tflite.images.fold)")
        data = figures.get("calibration")
        if data:
            ranges = [f"{name} {limits['min']:.3g}..{limits['max']:.3g}" for name, limits in data["inputs"].items()]
            count = f"{data['samples']} of {data['available']} samples"
            lines.append(f"calibration: {count} of {data['source']}; {', '.join(ranges)}")
        lines += _speed(variant, figures)
        if figures.get("float_layers"):
            lines.append(f"{variant}: layers in float: {listed(figures['float_layers'])}")
        lines += [f"{variant}: {text}" for text in figures.get("notes", ())]
    lines += [f"model.tflite: {text}" for text in record.get("fast_path", {}).get("notes", ())]
    return list(dict.fromkeys(lines))


def _speed(variant: str, figures: dict[str, Any]) -> list[str]:
    """Return the line with the latency of an int8 variant beside that of float32, and what XNNPACK runs of it."""
    if "float_ms" not in figures:
        return []
    delegated, latency = figures["delegation"], figures["latency_ms"]["1"]
    parts = plural(delegated["partitions"], "partition")
    nodes = f"XNNPACK runs {delegated['delegated']} of {delegated['nodes']} nodes in {parts}"
    return [f"{variant}: {latency:.3g} ms with one thread (float32: {figures['float_ms']:.3g} ms); {nodes}"]
