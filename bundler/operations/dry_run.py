"""`tfbundle build --dry-run`: report what a build would do with each operator. Only temporary files are written."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bundler.errors import UsageError
from bundler.pipeline import Progress, timed
from bundler.validation.request import check_models
from bundler.values.converted import SERVING_DEFAULT

if TYPE_CHECKING:
    import onnx_ir as ir

    from bundler.converters.native.examine import Findings
    from bundler.converters.native.plugins import Extension
    from bundler.converters.native.registry import HandlerTable
    from bundler.sources import LoadedModel
    from bundler.spec.bundle_spec import BundleSpec, ModelSpec


@dataclass(frozen=True)
class OperatorUse:
    """One type of operator in a graph, and its handler.

    Attributes:
        domain: The operator's domain; `ai.onnx` is ONNX's own.
        name: The operator's type.
        nodes: The number of its nodes in the graph.
        failing: The number of these nodes that would fail to convert.
        handler: `module:function`, or None if there is no handler.
        since: The first opset for which the handler is correct.
        layout: The handler's requirement on the order of axes, a name in `bundler.ops.Layout`.
    """

    domain: str
    name: str
    nodes: int
    failing: int
    handler: str | None
    since: int | None
    layout: str | None


@dataclass(frozen=True)
class FailedNode:
    """A node that would fail to convert.

    Attributes:
        operator: `domain::type`.
        node: The node's name and operator, with the dtypes and shapes of its inputs and outputs.
        what: The reason.
        line: The line of the user's model that created the node, if torch recorded it.
        fix: What to do, if known.
    """

    operator: str
    node: str
    what: str
    line: str | None
    fix: str | None


@dataclass(frozen=True)
class DryRun:
    """The result of a dry run for one signature of a model.

    Attributes:
        model: The model's name.
        signature: The signature's name.
        operators: The operators in the signature's graph, by domain and name.
        failures: The nodes that would fail to convert.
        unchecked: The nodes that could not be checked, because they depend on a failing node whose output type is unknown.
        seconds: The time taken after the export.
    """

    model: str
    signature: str
    operators: tuple[OperatorUse, ...]
    failures: tuple[FailedNode, ...]
    unchecked: tuple[str, ...]
    seconds: float

    @property
    def converts(self) -> bool:
        """Whether every node would convert."""
        return not self.failures

    def to_json(self) -> dict[str, Any]:
        """Return the result as `tfbundle build --dry-run --json` prints it."""
        return {**asdict(self), "converts": self.converts}


def dry_run(spec: BundleSpec, *, base: Path, progress: Progress) -> tuple[DryRun, ...]:
    """Export every model of a spec, and check each node of each signature against the handlers.

    Args:
        spec: The models to check.
        base: The folder that relative paths in the spec refer to.
        progress: Called when a stage begins and ends.

    Returns:
        One result per signature.

    Raises:
        TfbundleError: A model cannot be loaded, exported or normalized, or handlers cannot be loaded.
        UsageError: There is no model, or one that does not use the native converter.
    """
    if not spec.models:
        raise UsageError(
            "bundle.yaml lists no models.", fix="add a model under 'models' in bundle.yaml", code="TFB1103"
        )
    for model in spec.models:
        _check_converter(model)
    extensions = check_models(spec, base)
    return tuple(
        result for model in spec.models for result in _check_model(model, extensions[model.name][1], base, progress)
    )


def _check_converter(model: ModelSpec) -> None:
    if model.converter != "native":
        raise UsageError(
            f"--dry-run works only with the native converter, but the model {model.name!r} uses {model.converter}.",
            fix="omit --converter or --dry-run",
            code="TFB1206",
        )


def _check_model(
    model: ModelSpec, extension: Extension | None, base: Path, progress: Progress
) -> Iterator[DryRun]:
    with tempfile.TemporaryDirectory(prefix="tfbundle-") as work:
        with timed(progress, model.name, "load"):
            handlers = _handlers(extension)
            loaded = _load(model, base)
        if isinstance(loaded, Path):
            files = dict.fromkeys((SERVING_DEFAULT, *model.methods), loaded)
        else:
            with timed(progress, model.name, "export"):
                files = _export(model, loaded, extension, Path(work))
        with timed(progress, model.name, "explain"):
            yield from _check_graphs(model, files, handlers)


def _handlers(extension: Extension | None) -> HandlerTable:
    from bundler.converters.native.plugins import installed

    return (extension or installed()).handlers


def _load(model: ModelSpec, base: Path) -> LoadedModel | Path:
    """Return the loaded model, or the path of the source if it is an ONNX file, which needs no export."""
    from bundler import sources
    from bundler.sources.files import find_file

    if sources.is_onnx(model.source):
        return find_file(model.source, base, what="The ONNX file")
    return sources.load(model, base=base)


def _export(model: ModelSpec, loaded: LoadedModel, extension: Extension | None, work: Path) -> dict[str, Path]:
    from bundler.export.stage import export

    translations = extension.handlers.translations() if extension else None
    return {signature.name: signature.onnx for signature in export(loaded, model, work, translations=translations)}


def _check_graphs(model: ModelSpec, files: Mapping[str, Path], handlers: HandlerTable) -> list[DryRun]:
    from bundler.converters.native.examine import examine
    from bundler.graph.load import load
    from bundler.graph.normalize import normalize

    results = []
    for name, path in files.items():
        start = time.perf_counter()
        graph = normalize(load(path))
        findings = examine({name: graph}, handlers, layout=model.layout or "keep")[name]
        opset = graph.opset_imports.get("", 1)

        def find(node: ir.Node, opset: int = opset) -> Any:
            return handlers.find(node.op_type, node.domain, opset)

        results.append(
            DryRun(
                model.name, name, _operators(findings, find), _failures(findings), _unchecked(findings),
                round(time.perf_counter() - start, 3),
            )
        )  # fmt: skip
    return results


def _operators(findings: Findings, find: Callable[[ir.Node], Any]) -> tuple[OperatorUse, ...]:
    by_operator: dict[tuple[str, str], list[ir.Node]] = {}
    for node in findings.nodes:
        by_operator.setdefault((node.domain, node.op_type), []).append(node)
    failed = {node for node, _ in findings.failed}
    rows = []
    for (domain, name), nodes in sorted(by_operator.items()):
        handler = find(nodes[0])
        facts = (handler.place, handler.since, handler.layout.name) if handler else (None, None, None)
        rows.append(OperatorUse(domain or "ai.onnx", name, len(nodes), sum(n in failed for n in nodes), *facts))
    return tuple(rows)


def _failures(findings: Findings) -> tuple[FailedNode, ...]:
    from bundler.graph.provenance import describe_node, source_line

    rows = []
    for node, error in findings.failed:
        line = source_line(node)
        described = describe_node(node).removesuffix(f", {line}")
        rows.append(FailedNode(_operator_name(node), described, error.what, line, error.fix))
    return tuple(rows)


def _unchecked(findings: Findings) -> tuple[str, ...]:
    return tuple(f"{_operator_name(node)} {node.name or ''}".strip() for node in findings.unchecked)


def _operator_name(node: ir.Node) -> str:
    return f"{node.domain or 'ai.onnx'}::{node.op_type}"
