"""tfbundle inspect."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bundler.cli.output import print_json, say, size, table
from bundler.cli.remote import folder_of
from serving.texts import plural

if TYPE_CHECKING:
    from bundler.operations.inspect import ModelFacts
    from bundler.validation.bundle import Bundle
    from bundler.values.signature import Signature


def inspect(
    path: Annotated[
        str,
        typer.Argument(
            metavar="PATH", help="A bundle or the address of one, a SavedModel folder, an .onnx file or a .tflite file."
        ),
    ],
    target: Annotated[
        str | None,
        typer.Option(
            metavar="SERVER==VERSION",
            help="Instead, say whether this server can serve the models, e.g. tensorflow-serving==2.13, or what it lacks.",
        ),
    ] = None,
    delegates: Annotated[
        bool,
        typer.Option(
            "--delegates", help="Instead, say which operators of .tflite files XNNPACK, GPUs, Core ML and NPUs do not take."
        ),
    ] = False,
    delegate: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="The same for one delegate, e.g. gpu. Can be repeated.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the facts as JSON.")] = False,
) -> None:
    """Show versions, signatures, operators and sizes, and what a model does besides computing. No model is run.

    With --target, the exit code is 1 if the server lacks something.
    """
    _inspect(folder_of(path, "whole"), target, delegates, delegate or (), as_json=as_json)


def _inspect(path: Path, target: str | None, delegates: bool, delegate: Sequence[str], *, as_json: bool) -> None:
    from bundler.operations.inspect import inspect_bundle, inspect_model, kind_of
    from bundler.validation.bundle import Bundle

    if delegates or delegate:
        _show_delegates(path, delegate, as_json=as_json)
    elif target is not None:
        _answer_target(path, target, as_json=as_json)
    elif kind_of(path) == "bundle":
        bundle = Bundle.open(path)
        if as_json:
            print_json(inspect_bundle(bundle))
        else:
            _show_bundle(bundle, inspect_bundle(bundle))
    elif as_json:
        print_json(inspect_model(path).to_json())
    else:
        _show_model(inspect_model(path))


def _answer_target(path: Path, target: str, *, as_json: bool) -> None:
    from bundler.operations.inspect import inspect_target

    verdicts = inspect_target(path, target)
    fits = all(verdict.fits for verdict in verdicts.values())
    if as_json:
        print_json({"target": target, "fits": fits, "models": {name: fit.to_json() for name, fit in verdicts.items()}})
    else:
        for name, verdict in verdicts.items():
            say(f"{name} in {verdict.release}: {'yes' if verdict.fits else 'no'}", style="bold")
            for line in verdict.lines():
                say(f"  {line}")
    if not fits:
        raise typer.Exit(1)


def _show_delegates(path: Path, names: Sequence[str], *, as_json: bool) -> None:
    from bundler.operations.inspect import inspect_delegates

    found = inspect_delegates(path, names)
    if as_json:
        print_json({file: {name: row.to_json() for name, row in rows.items()} for file, rows in found.items()})
        return
    for file, rows in found.items():
        say(file, style="bold")
        measured = rows.pop("XNNPACK")
        say(f"  {measured} (measured)")
        for name, row in rows.items():
            say(f"  {name}: takes {row.taken} of {plural(row.nodes, 'node')}")
            for each in row.fallen:
                say(f"    {each}")
    lists = {row.delegate.name: row.delegate for rows in found.values() for row in rows.values()}
    for name, each in lists.items():
        say(f"{name}: {each.title}, by the list of {each.source}, {each.date}")


def _show_bundle(bundle: Bundle, facts: dict[str, Any]) -> None:
    say(f"bundle {bundle.name}: {plural(facts['files'], 'file')}, {size(facts['size_bytes'])}", style="bold")
    rows = []
    for model in bundle.models():
        for version in bundle.versions(model):
            record = bundle.record(model, version)
            source = str(record["source"].get("source", ""))
            fast = record.get("fast_path")
            named = [f"model.tflite {fast.get('form', 'float32')}"] if fast else []
            variants = ", ".join([*record["tflite"], *named]) or "-"
            precision = " bfloat16" if record.get("precision", {}).get("passed") else ""
            bytes_text = size(bundle.size_bytes(model, version)) + precision
            rows.append((model, str(version), bytes_text, variants, record["created"], source))
    table(("model", "version", "SavedModel", "TFLite", "built", "source"), rows)
    for model in bundle.models():
        say()
        for name, signature in bundle.signatures(model).items():
            _show_signature(f"{model} {name}", signature)
    for model in facts["models"].values():
        for version in model["versions"].values():
            _show_unsafe(version["unsafe"])


def _show_unsafe(uses: Sequence[str]) -> None:
    for use in uses:
        say(f"unsafe: {use}", style="bold red")


def _show_model(facts: ModelFacts) -> None:
    details = ", ".join(
        f"{key} {_detail(value)}" for key, value in facts.details.items() if value not in ("", [], {}, None)
    )
    say(f"{facts.kind} {facts.path}: {size(facts.size_bytes)}", style="bold")
    if details:
        say(details)
    for name, signature in facts.signatures.items():
        _show_signature(name, signature)
    if facts.transposes is not None:
        counts = facts.transposes
        single = str(next(iter(counts.values()))) if len(counts) == 1 else None
        say("transposes: " + (single or ", ".join(f"{name} {count}" for name, count in counts.items())))
    if facts.metadata is not None:
        from bundler.tflite.inspection import describe_metadata

        say("metadata", style="bold")
        for line in describe_metadata(facts.metadata):
            say(f"  {line}")
    for line in facts.requirements.lines() if facts.requirements else ():
        say(line)
    _show_unsafe(facts.unsafe)
    total = sum(facts.ops.values())
    say(f"{plural(total, 'operator')}: " + ", ".join(f"{name} {count}" for name, count in facts.ops.items()))


def _detail(value: Any) -> str:
    """Return a detail as text. A mapping holds sizes in bytes by name."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {size(count)}" for name, count in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _show_signature(title: str, signature: Signature) -> None:
    say(title, style="bold")
    for side, specs in (("in ", signature.inputs), ("out", signature.outputs)):
        for spec in specs:
            say(f"  {side} {spec}")
