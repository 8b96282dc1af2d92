"""tfbundle build"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from bundler.cli.boundary import cleanly_interrupted
from bundler.cli.dry_run import dry_run
from bundler.cli.output import note, print_json, say, size, table
from bundler.cli.progress import stages

if TYPE_CHECKING:
    from bundler.validation.bundle import Bundle

_MODEL = "The model (not with a bundle.yaml)"
_TFLITE = "TFLite"
_PLAIN = (
    "name", "architecture", "weights", "pretrained", "trust_pickle", "converter", "opset", "layout", "tolerance",
    "calibration", "allow_random_calibration", "io_type", "auto_mix", "select_tf_ops", "evaluate", "max_drop", "min_sqnr",
    "min_top1", "fast_path", "labels", "cast_half",
)  # fmt: skip


def build(
    ctx: typer.Context,
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE|bundle.yaml",
            help="file.py:callable, .pt2, .onnx, .pt, .pth, .safetensors, timm:NAME, hf:NAME or a bundle.yaml.",
        ),
    ],
    output: Annotated[
        Path | None, typer.Option("--output-dir", "-o", help="The bundle's folder; default: dist/NAME.")
    ] = None,
    version: Annotated[
        int | None, typer.Option(min=1, help="Number of the new version; default: the next free one.")
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="Name it is served under; default: from the source.", rich_help_panel=_MODEL),
    ] = None,
    input: Annotated[
        list[str] | None,
        typer.Option(
            help="An input, 'x=float32[batch,3,224,224]'; a named dim is dynamic. Once for each.",
            rich_help_panel=_MODEL,
        ),
    ] = None,
    output_names: Annotated[
        list[str] | None,
        typer.Option(
            "--output", help="Name of an output, in the model's order. Once for each.", rich_help_panel=_MODEL
        ),
    ] = None,
    signature: Annotated[
        list[str] | None,
        typer.Option(
            help="A further signature, 'NAME=METHOD' of the module. Once for each.", rich_help_panel=_MODEL
        ),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(help="File with a class a line: gives the signature classify.", rich_help_panel=_MODEL),
    ] = None,
    cast_half: Annotated[
        bool,
        typer.Option("--cast-half", help="float32 to the outside of a half-precision model.", rich_help_panel=_MODEL),
    ] = False,
    architecture: Annotated[
        str | None,
        typer.Option(
            help="file.py:callable that makes the module a state dict is for.", rich_help_panel=_MODEL
        ),
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="State dict to load into the module.", rich_help_panel=_MODEL)
    ] = None,
    pretrained: Annotated[
        bool,
        typer.Option(
            "--pretrained/--no-pretrained", help="timm:, hf: fetch published weights.", rich_help_panel=_MODEL
        ),
    ] = True,
    trust_pickle: Annotated[
        bool,
        typer.Option(
            "--trust-pickle",
            help="Load pickles that can run code: your own files only.",
            rich_help_panel=_MODEL,
        ),
    ] = False,
    ops: Annotated[
        list[str] | None,
        typer.Option(
            help="Python file with handlers of your own for operators. Once for each.", rich_help_panel=_MODEL
        ),
    ] = None,
    converter: Annotated[str, typer.Option(help="native or onnx-tf.", rich_help_panel=_MODEL)] = "native",
    opset: Annotated[
        int | None, typer.Option(min=7, help="ONNX opset to export.", rich_help_panel=_MODEL)
    ] = None,
    layout: Annotated[
        str, typer.Option(help="keep PyTorch's NCHW signature, or nhwc image inputs.", rich_help_panel=_MODEL)
    ] = "keep",
    tolerance: Annotated[
        float, typer.Option(help="Largest relative error against PyTorch.", rich_help_panel=_MODEL)
    ] = 1e-4,
    tflite: Annotated[
        str,
        typer.Option(
            help="Variants, with commas: float32,float16,dynamic,int8,int8-io,int16x8,mix.", rich_help_panel=_TFLITE
        ),
    ] = "",
    calibration: Annotated[
        str | None,
        typer.Option(
            help="For the int variants: .npz, a folder of .npz or images, or module:function.", rich_help_panel=_TFLITE
        ),
    ] = None,
    allow_random_calibration: Annotated[
        bool,
        typer.Option(
            "--allow-random-calibration", help="Accept --calibration random, to try sizes.", rich_help_panel=_TFLITE
        ),
    ] = False,
    io_type: Annotated[
        str, typer.Option(help="Inputs and outputs of int8-io: int8 or uint8.", rich_help_panel=_TFLITE)
    ] = "int8",
    float_layers: Annotated[
        str,
        typer.Option(help="Layers that stay float in mix, with commas; * allowed.", rich_help_panel=_TFLITE),
    ] = "",
    auto_mix: Annotated[
        bool,
        typer.Option(
            "--auto-mix", help="Make mix with as few float layers as pass the gate.", rich_help_panel=_TFLITE
        ),
    ] = False,
    evaluate: Annotated[
        str | None,
        typer.Option(
            help="module:function: a metric of predict, or labelled samples; the gate.", rich_help_panel=_TFLITE
        ),
    ] = None,
    max_drop: Annotated[
        float, typer.Option(help="How far below PyTorch's metric a variant may be.", rich_help_panel=_TFLITE)
    ] = 0.01,
    min_sqnr: Annotated[
        float, typer.Option(help="Without --evaluate: least SQNR of an output, in dB.", rich_help_panel=_TFLITE)
    ] = 10.0,
    min_top1: Annotated[
        float | None,
        typer.Option(help="Without --evaluate: least share of equal top-1 answers.", rich_help_panel=_TFLITE),
    ] = None,
    select_tf_ops: Annotated[
        bool,
        typer.Option("--select-tf-ops", help="Allow TensorFlow's kernels (Flex).", rich_help_panel=_TFLITE),
    ] = False,
    dims: Annotated[
        str,
        typer.Option(help="Sizes of dynamic dims in .tflite files: batch=1,seq=64.", rich_help_panel=_TFLITE),
    ] = "",
    fast_path: Annotated[
        bool,
        typer.Option(
            "--fast-path", help="A model.tflite beside saved_model.pb, served in its place.", rich_help_panel=_TFLITE
        ),
    ] = False,
    shape: Annotated[
        list[str] | None,
        typer.Option(
            help="A further signature with other sizes, 'long:seq=256'. Once for each.", rich_help_panel=_TFLITE
        ),
    ] = None,
    dry: Annotated[
        bool,
        typer.Option("--dry-run", help="Export, list every operator and all that would fail; build nothing."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Build a model, or every model of a bundle.yaml, as a new version in a bundle.

    Nothing appears in the bundle before everything has been made and answers what PyTorch answers (exit 3
    if not). A TFLite variant below its gate is left out, and the build exits with 3.
    """
    from bundler.errors import VariantsError
    from bundler.pipeline import build_bundle, stage_count
    from bundler.spec.request import make_request

    # oneDNN's allocator in TensorFlow keeps all that it ever had; between the stages of a large model it has to be given back.
    os.environ.setdefault("TF_ONEDNN_USE_SYSTEM_ALLOCATOR", "1")
    request = make_request(source, output, _options(ctx))
    if dry:
        dry_run(request, as_json=as_json)
        return
    consequence = f"nothing was published; {request.out} is as it was."
    try:
        with cleanly_interrupted(consequence), stages(stage_count(request.spec)) as progress:
            bundle = build_bundle(
                request.spec, request.out, base=request.base, version=version, progress=progress
            )
    except VariantsError as exc:
        _show(cast("Bundle", exc.bundle), request.out, as_json=as_json)
        raise
    _show(bundle, request.out, as_json=as_json)


def _show(bundle: Bundle, shown: Path, *, as_json: bool) -> None:
    for notice in bundle.notices:
        note(notice)
    if as_json:
        print_json(bundle.inspect())
    else:
        summarize(bundle, shown)


def _options(ctx: typer.Context) -> dict[str, Any]:
    """The model's options that stand on the command line, as `make_request` takes them."""
    from bundler.spec.request import parse_dims, parse_names, parse_shapes, parse_signatures

    given = {flag: value for flag, value in ctx.params.items() if _is_given(ctx, flag)}
    readers: dict[str, tuple[str, Callable[[Any], Any]]] = {
        "input": ("inputs", tuple),
        "ops": ("ops", tuple),
        "output_names": ("outputs", tuple),
        "signature": ("signatures", parse_signatures),
        "tflite": ("variants", parse_names),
        "dims": ("dims", parse_dims),
        "shape": ("shapes", parse_shapes),
        "float_layers": ("float_layers", parse_names),
    }
    plain = {flag: given[flag] for flag in _PLAIN if flag in given}
    return plain | {key: read(given[flag]) for flag, (key, read) in readers.items() if flag in given}


def _is_given(ctx: typer.Context, parameter: str) -> bool:
    source = ctx.get_parameter_source(parameter)
    return source is not None and source.name == "COMMANDLINE"


def summarize(bundle: Bundle, shown: Path) -> None:
    """The newest version of each model in a few lines, and what to do with the bundle."""
    for model in bundle.models():
        version = bundle.versions(model)[-1]
        record = bundle.record(model, version)
        say(f"{model} version {version}", style="bold")
        rows = [("SavedModel", size(bundle.size_bytes(model, version)), _worst(record, "saved_model"), "")]
        for variant, figures in record["tflite"].items():
            worst = _worst(record, f"tflite-{variant}")
            rows.append((f"TFLite {variant}", size(figures["size_bytes"]), worst, _accuracy(figures)))
        for variant, figures in record.get("tflite_refused", {}).items():
            verdict = "below its gate" if figures["below_gate"] else "not made"
            rows.append((f"TFLite {variant}", verdict, "", _accuracy(figures)))
        table(("artifact", "size", "max relative error", "accuracy"), rows)
        for line in _said_of_variants(record):
            say(line)
    say(f"Bundle: {shown}")
    say(f"Next:   tfbundle serve {shown}   |   tfbundle verify {shown}   |   open {shown / 'report.html'}")


def _worst(record: dict[str, Any], runtime: str) -> str:
    # An error that is not finite (another class in an integer output) is left out of the JSON.
    inf = float("inf")
    errors = [line.get("max_rel", inf) for line in record["parity"]["summary"] if line["runtime"] == runtime]
    return f"{max(errors):.1e}" if errors else ""


def _accuracy(figures: dict[str, Any]) -> str:
    """The metric where there is one, else the worst output's agreement with PyTorch."""
    if "evaluation" in figures:
        measured = figures["evaluation"]
        return f"{measured['value']:.4g} (PyTorch {measured['pytorch']:.4g})"
    outputs = figures.get("accuracy", {}).get("outputs", {}).values()
    ratios = [output["sqnr_db"] for output in outputs if "sqnr_db" in output]
    return f"SQNR {min(ratios):.1f} dB" if ratios else ""


def _said_of_variants(record: dict[str, Any]) -> list[str]:
    """What calibration saw, which layers stay float, and the notes; each once."""
    from bundler.tflite.layers import listed

    lines = []
    for variant, figures in record["tflite"].items():
        seen = figures.get("calibration")
        if seen:
            ranges = [f"{name} {found['min']:.3g}..{found['max']:.3g}" for name, found in seen["inputs"].items()]
            number = f"{seen['samples']} of {seen['available']} samples"
            lines.append(f"calibration: {number} of {seen['source']}; {', '.join(ranges)}")
        if figures.get("float_layers"):
            lines.append(f"{variant}: float: {listed(figures['float_layers'])}")
        lines += [f"{variant}: {text}" for text in figures.get("notes", ())]
    return list(dict.fromkeys(lines))
