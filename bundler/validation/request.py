"""Checks of all models of a spec before the first one is built, so that one run shows every mistake that needs no build."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from bundler import adapters
from bundler.converters import Bfloat16Converter, Converter, ExtensibleConverter, load_converter
from bundler.converters.native import plugins
from bundler.converters.native.plugins import Extension
from bundler.errors import TfbundleError, UsageError
from bundler.process.worker import worker_timeout
from bundler.sources import require_packages
from bundler.sources.check import Check, source_checks
from bundler.tflite import fast_path
from bundler.tflite.request import request_checks
from serving.texts import plural

if TYPE_CHECKING:
    from bundler.spec.bundle_spec import BundleSpec, ModelSpec

T = TypeVar("T")


def check_models(
    spec: BundleSpec, base: Path, *, loaded: Collection[str] = ()
) -> dict[str, tuple[Converter, Extension | None]]:
    """Check the models of a spec: sources, converter, handlers, TFLite request and derived signatures.

    Args:
        spec: the models.
        base: folder that relative paths of the spec start from.
        loaded: names of models that are in memory already, whose sources are not read.

    Returns:
        By model: its converter, and the handlers of its `ops` and of installed packages, if there are any.

    Raises:
        MissingExtraError: the build needs packages that are not installed.
        TfbundleError: something is wrong. If several things are, the error is a UsageError that lists all of them.
    """
    for model in spec.models:
        require_packages(model.source)
    converters = {}
    known: dict[object, tuple[Converter, Extension | None]] = {}  # looking for installed packages takes a tenth of a second
    problems: list[tuple[ModelSpec, str | None, TfbundleError]] = []
    for index, model in enumerate(spec.models):
        found: list[tuple[Converter, Extension | None]] = []
        for key, check in _checks(spec, model, base, is_loaded=model.name in loaded):
            same = (key, model.converter, model.ops)
            try:
                result = known[same] if same in known else check()
            except TfbundleError as exc:
                problems.append((model, spec.place(("models", index, *key)), exc))
            else:
                if key == ("converter",):
                    known[same] = result  # type: ignore[assignment]
                    found.append(known[same])
        if found:
            converters[model.name] = found[0]
    if problems:
        raise _error(problems, several=len(spec.models) > 1)
    return converters


def _checks(spec: BundleSpec, model: ModelSpec, base: Path, *, is_loaded: bool) -> Iterator[Check]:
    has_fast_path = spec.has_fast_path(model) and not model.optimize
    has_lower_precision = model.precision != "float32" or spec.serving.mixed_precision is not None or model.optimize is not None
    if not is_loaded:
        yield from source_checks(model, base)
    is_evaluated = model.against.version is not None and model.tflite.evaluate is not None
    if model.tflite.wanted or is_evaluated or has_lower_precision or spec.fast_path_of(model) not in (None, "float32"):
        for key, check in request_checks(model.tflite, base, model.source):
            yield ("tflite", key), check
    if has_fast_path:
        yield ("fast_path",), lambda: fast_path.check_request(model, spec.fast_path_of(model) or "float32", base)
    if model.tflite.wanted or has_fast_path or has_lower_precision:
        yield ("tflite",), worker_timeout  # raises if the environment has a wrong one
    if model.derived:
        yield ("labels" if model.labels else "signatures",), lambda: adapters.check_request(model, base)
    yield ("converter",), lambda: find_converter(model, base)
    if model.precision != "float32":
        yield ("precision",), lambda: check_precision(model)
    if model.optimize:
        yield ("optimize",), lambda: check_optimize(model)


def check_optimize(model: ModelSpec) -> None:
    """Raise an error if a model that is to be optimized has a setting that the measurement chooses.

    Raises:
        UsageError: it has.
    """
    chosen = {"precision": model.precision != "float32", "fast_path": model.fast_path is not None}
    if given := [key for key, is_given in chosen.items() if is_given]:
        raise UsageError(
            f"optimize chooses precision and fast_path by measurement, so {' and '.join(given)} cannot be given.",
            fix=f"leave out {' and '.join(given)}, or optimize",
            code="TFB1001",
        )


def check_precision(model: ModelSpec) -> None:
    """Raise an error if the converter of a model cannot lower it to another precision.

    Raises:
        UsageError: it cannot, or there is no such converter.
    """
    if not isinstance(load_converter(model.converter), Bfloat16Converter):
        raise UsageError(
            f"The converter {model.converter} cannot build a SavedModel in {model.precision}.",
            fix="omit --converter, or use --converter native",
            code="TFB1206",
        )


def find_converter(model: ModelSpec, base: Path) -> tuple[Converter, Extension | None]:
    """Return a model's converter, and the handlers of its `ops` and of installed packages, if there are any.

    Raises:
        UsageError: there is no such converter, it does not support custom handlers, or the handlers contradict each other.
        SourceError: a file of `ops` cannot be used.
    """
    converter = load_converter(model.converter)
    if not isinstance(converter, ExtensibleConverter):
        if model.ops:
            raise UsageError(
                f"The converter {model.converter} does not support custom handlers (ops: {', '.join(model.ops)}).",
                fix="omit --ops, or use --converter native",
                code="TFB1206",
            )
        return converter, None
    extension = plugins.find(model.ops, base=base)
    return (converter.with_handlers(extension.handlers), extension) if extension else (converter, None)


def _error(problems: list[tuple[ModelSpec, str | None, TfbundleError]], *, several: bool) -> TfbundleError:
    """Return the only error as it is, with its place in the file; or one that lists all of them."""
    if len(problems) == 1:
        model, place, exc = problems[0]
        subject = f"model {model.name!r}" if several else None
        exc.where = ", ".join(filter(None, [place, subject, exc.where])) or None
        return exc
    lines = [f"{plural(len(problems), 'problem')} before the first build:"]
    for model, place, exc in problems:
        lines.append(f"    {', '.join(filter(None, [place, model.name]))}: {exc.what}")
        lines += [f"        where: {exc.where}"] if exc.where else []
        lines += [f"        to do: {exc.fix}"] if exc.fix else []
    return UsageError("\n".join(lines), code="TFB1103")
