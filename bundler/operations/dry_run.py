"""What a build would do with a model's operators: `tfbundle build --dry-run`. Nothing is written but temporary files."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bundler.errors import UsageError
from bundler.pipeline import Progress, check_model, timed
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
    """One kind of operator in a graph, and what takes it.

    Attributes:
        nodes, failing: how many nodes of it there are, and how many of these would fail.
        handler: `module:function`; None: there is none.
        since: the opset from which on the handler is right.
        layout: what it asks of the order of axes, a name of `bundler.ops.Layout`.
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
    """A node that would fail.

    Attributes:
        node: its name, operator, and the dtypes and shapes around it.
        line: the line of the user's model, where torch noted one.
    """

    operator: str
    node: str
    what: str
    line: str | None
    fix: str | None


@dataclass(frozen=True)
class Explanation:
    """One signature of a model.

    Attributes:
        unchecked: nodes that could not be asked, as they depend on a failing one whose result has no known type.
        seconds: what it took after the export.
    """

    model: str
    signature: str
    operators: tuple[OperatorUse, ...]
    failures: tuple[FailedNode, ...]
    unchecked: tuple[str, ...]
    seconds: float

    @property
    def converts(self) -> bool:
        return not self.failures

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "converts": self.converts}


def explain(spec: BundleSpec, *, base: Path, progress: Progress) -> tuple[Explanation, ...]:
    """Export every model of the spec, and ask the handlers of every node of every signature.

    Args:
        base: folder that relative paths of the spec start from.
        progress: called as stages begin and end.

    Raises:
        TfbundleError: a model cannot be loaded, exported or brought to the normal form; handlers cannot be had.
        UsageError: there is no model, or one that another converter converts.
    """
    if not spec.models:
        raise UsageError("There is no model to explain.", fix="add one under 'models' in bundle.yaml")
    extensions = {model.name: _extension(model, base) for model in spec.models}
    return tuple(
        one for model in spec.models for one in _explain_model(model, extensions[model.name], base, progress)
    )


def _extension(model: ModelSpec, base: Path) -> Extension | None:
    if model.converter != "native":
        raise UsageError(
            f"A dry run asks the native converter's handlers; the model {model.name} is to go through {model.converter}.",
            fix="leave --converter out, or --dry-run",
        )
    return check_model(model, base)[1]


def _explain_model(
    model: ModelSpec, extension: Extension | None, base: Path, progress: Progress
) -> Iterator[Explanation]:
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
            yield from _explain_graphs(model, files, handlers)


def _handlers(extension: Extension | None) -> HandlerTable:
    from bundler.converters.native.plugins import installed

    return (extension or installed()).handlers


def _load(model: ModelSpec, base: Path) -> LoadedModel | Path:
    """The model, or the ONNX file that is the source: it is taken as it is, nothing has to run it."""
    from bundler import sources
    from bundler.sources.files import find_file

    if sources.is_onnx(model.source):
        return find_file(model.source, base, what="The ONNX file")
    return sources.load(model, base=base)


def _export(model: ModelSpec, loaded: LoadedModel, extension: Extension | None, work: Path) -> dict[str, Path]:
    from bundler.export.stage import export

    translations = extension.handlers.translations() if extension else None
    return {one.name: one.onnx for one in export(loaded, model, work, translations=translations)}


def _explain_graphs(model: ModelSpec, files: Mapping[str, Path], handlers: HandlerTable) -> list[Explanation]:
    from bundler.converters.native.examine import examine
    from bundler.graph.load import load
    from bundler.graph.normalize import normalize

    out = []
    for name, path in files.items():
        start = time.perf_counter()
        graph = normalize(load(path))
        findings = examine({name: graph}, handlers, layout=model.layout)[name]
        opset = graph.opset_imports.get("", 1)

        def find(node: ir.Node, opset: int = opset) -> Any:
            return handlers.find(node.op_type, node.domain, opset)

        out.append(
            Explanation(
                model.name, name, _operators(findings, find), _failures(findings), _unchecked(findings),
                round(time.perf_counter() - start, 3),
            )
        )  # fmt: skip
    return out


def _operators(findings: Findings, find: Callable[[ir.Node], Any]) -> tuple[OperatorUse, ...]:
    """By domain and name."""
    kinds: dict[tuple[str, str], list[ir.Node]] = {}
    for node in findings.nodes:
        kinds.setdefault((node.domain, node.op_type), []).append(node)
    failed = {node for node, _ in findings.failed}
    rows = []
    for (domain, name), nodes in sorted(kinds.items()):
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
        rows.append(FailedNode(_kind(node), described, error.what, line, error.fix))
    return tuple(rows)


def _unchecked(findings: Findings) -> tuple[str, ...]:
    return tuple(f"{_kind(node)} {node.name or ''}".strip() for node in findings.unchecked)


def _kind(node: ir.Node) -> str:
    return f"{node.domain or 'ai.onnx'}::{node.op_type}"
