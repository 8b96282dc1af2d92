"""Which operators have a handler: what `tfbundle ops` prints, and docs/operators.md.

The domains that the onnx package knows (ONNX's own, ai.onnx.ml, the preview ones) are listed whole, by the schemas of the
installed version; of every other domain only what has a handler, as nothing lists the rest.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bundler.errors import UsageError

if TYPE_CHECKING:
    from bundler.converters.native.registry import Handler, HandlerTable

Status = Literal["handler", "expanded", "missing"]
_LISTED = ("", "ai.onnx.ml", "ai.onnx.preview", "ai.onnx.preview.training")
_INTERNAL = ("tfbundle",)
"""Of our own normal form: no model has them."""
_ONNX = "ai.onnx"


@dataclass(frozen=True)
class Coverage:
    """One operator.

    Attributes:
        newest: the opset of its newest definition; None for a domain that the onnx package does not know.
        status: it has a handler; it becomes the graph of other operators that ONNX defines for it; or neither.
        handler: `module:function`, or `file:function` for a user's own.
        since: the opset from which on the handler is right.
        layout: what it asks of the order of axes, a name of `bundler.ops.Layout`.
    """

    domain: str
    name: str
    newest: int | None
    status: Status
    handler: str | None = None
    since: int | None = None
    layout: str | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def coverage(
    files: Sequence[str] = (), *, base: Path | None = None, packages: bool = True
) -> tuple[Coverage, ...]:
    """One row an operator and handler, by domain (ONNX's own first) and name.

    Args:
        files: Python files with handlers of the user's own.
        base: folder that relative paths start from; default: the current one.
        packages: list the handlers of installed packages, too.

    Raises:
        SourceError, UsageError: handlers cannot be had.
    """
    from bundler.converters.native import plugins
    from bundler.converters.native.registry import builtin

    if files or packages:
        table = plugins.load(files, base=base or Path.cwd()).handlers
    else:
        table = builtin()
    newest = _schemas()
    rows = [*_handled(table, newest), *_unhandled(table, newest)]
    return tuple(sorted(rows, key=lambda row: (row.domain != _ONNX, row.domain, row.name.lower(), -(row.since or 0))))


def _handled(table: HandlerTable, newest: dict[tuple[str, str], int]) -> Iterable[Coverage]:
    seen: set[tuple[str, str, int]] = set()
    for handler in table.registered():
        key = handler.domain, handler.op_type
        shadowed = (*key, handler.since) in seen
        if handler.domain in _INTERNAL or shadowed or not _used(key, newest):
            continue
        seen.add((*key, handler.since))
        yield _row(handler, newest.get(key))


def _used(key: tuple[str, str], newest: dict[tuple[str, str], int]) -> bool:
    """Not one of ONNX's that is gone: the version converter takes it out of every model."""
    return key[0] not in _LISTED or key in newest


def _row(handler: Handler, newest: int | None) -> Coverage:
    return Coverage(
        handler.domain or _ONNX, handler.op_type, newest, "handler", handler.place, handler.since, handler.layout.name
    )


def _unhandled(table: HandlerTable, newest: dict[tuple[str, str], int]) -> Iterable[Coverage]:
    from bundler.graph.expand import EXPANDED

    have = {(handler.domain, handler.op_type) for handler in table.registered()}
    for (domain, name), opset in newest.items():
        if (domain, name) not in have:
            status: Status = "expanded" if (domain, name) in EXPANDED else "missing"
            yield Coverage(domain or _ONNX, name, opset, status)


def _schemas() -> dict[tuple[str, str], int]:
    """Domain and operator -> opset of the newest definition, without those that are deprecated."""
    import onnx.defs

    newest: dict[tuple[str, str], Any] = {}
    for schema in onnx.defs.get_all_schemas_with_history():
        key = schema.domain, schema.name
        if schema.domain in _LISTED and (key not in newest or schema.since_version > newest[key].since_version):
            newest[key] = schema
    return {key: schema.since_version for key, schema in newest.items() if not schema.deprecated}


def matching(rows: Sequence[Coverage], pattern: str) -> tuple[Coverage, ...]:
    """The rows whose name contains the pattern or matches it (`*Pool`); case does not matter, `domain::` may stand before.

    Raises:
        UsageError: there is none; near names are given.
    """
    wanted = pattern.lower()
    found = tuple(row for row in rows if _matches(row, wanted))
    if found:
        return found
    import difflib

    names = {row.name.lower(): row.name for row in rows}
    near = [names[name] for name in difflib.get_close_matches(wanted, names, n=3)]
    raise UsageError(
        f"No operator is called {pattern!r}.",
        fix=f"did you mean {' or '.join(near)}?" if near else "tfbundle ops lists all; a pattern looks like '*Pool'",
    )


def _matches(row: Coverage, wanted: str) -> bool:
    names = row.name.lower(), f"{row.domain}::{row.name}".lower()
    return any(wanted in name or fnmatch.fnmatchcase(name, wanted) for name in names)


def summary(rows: Sequence[Coverage]) -> dict[str, tuple[int, int | None]]:
    """Domain -> operators that convert, and all there are; None for a domain that nothing lists whole."""
    out: dict[str, tuple[int, int | None]] = {}
    for domain in dict.fromkeys(row.domain for row in rows):
        own = {row.name: row.status for row in rows if row.domain == domain}
        whole = any(row.newest is not None for row in rows if row.domain == domain)
        out[domain] = (sum(status != "missing" for status in own.values()), len(own) if whole else None)
    return out


def markdown(rows: Sequence[Coverage]) -> str:
    """The text of docs/operators.md."""
    import onnx

    lines = [
        "# Operators", "",
        f"What the native engine converts, by the operators of onnx {onnx.__version__}. This file is written by",
        "", "    tfbundle ops --markdown > docs/operators.md", "",
        "*expanded*: becomes the graph of other operators by which ONNX defines it. *since*: the model's opset from which on",
        "the handler is right; older models are raised to opset 21 first. *layout*: what the handler asks of the order of axes",
        "(docs/architecture.md). Operators of your own: docs/custom-ops.md.", "",
        "| domain | operators | converted |", "|---|---|---|",
        *(f"| {domain} | {'' if total is None else total} | {good} |" for domain, (good, total) in summary(rows).items()),
    ]  # fmt: skip
    for domain in summary(rows):
        lines += ["", f"## {domain}", "", "| operator | opset | handler | since | layout |", "|---|---|---|---|---|"]
        lines += [_markdown_row(row) for row in rows if row.domain == domain]
    return "\n".join(lines) + "\n"


def _markdown_row(row: Coverage) -> str:
    newest = "" if row.newest is None else row.newest
    if row.status != "handler":
        return f"| {row.name} | {newest} | *{row.status}* | | |"
    handler = str(row.handler).removeprefix("bundler.converters.native.ops.")
    return f"| {row.name} | {newest} | `{handler}` | {row.since} | {str(row.layout).lower()} |"
