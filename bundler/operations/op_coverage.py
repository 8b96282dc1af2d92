"""The table of operators and their handlers, as `tfbundle ops` prints it and docs/operators.md contains it.

Domains that the onnx package knows (ONNX's own, ai.onnx.ml and the preview domains) are listed completely, from the schemas of
the installed version. For other domains, only operators with a handler are listed, because no complete list exists.
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
"""Domains that only occur in the engine's normal form, never in a model."""
_ONNX = "ai.onnx"


@dataclass(frozen=True)
class Coverage:
    """One row of the table: an operator, and one of its handlers if it has any.

    Attributes:
        domain: The operator's domain; `ai.onnx` is ONNX's own.
        name: The operator's type.
        newest: The opset of its newest definition, or None for a domain that the onnx package does not know.
        status: `handler` if it has a handler, `expanded` if it is replaced by the graph of other operators with which ONNX
            defines it, and `missing` otherwise.
        handler: `module:function`, or `file:function` for a handler of the user.
        since: The first opset for which the handler is correct.
        layout: The handler's requirement on the order of axes, a name in `bundler.ops.Layout`.
    """

    domain: str
    name: str
    newest: int | None
    status: Status
    handler: str | None = None
    since: int | None = None
    layout: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the row as `tfbundle ops --json` prints it."""
        return asdict(self)


def coverage(
    files: Sequence[str] = (), *, base: Path | None = None, packages: bool = True
) -> tuple[Coverage, ...]:
    """Return one row per operator and handler, sorted by domain (ONNX's own first) and name.

    Args:
        files: Python files with the user's own handlers.
        base: The folder that relative paths refer to; the current folder by default.
        packages: Whether to include the handlers of installed packages.

    Raises:
        SourceError: A file or package with handlers cannot be loaded.
        UsageError: A handler would never be called.
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
    """Return False for a deprecated operator of ONNX: `raise_opset` replaces it in every model."""
    return key[0] not in _LISTED or key in newest


def _row(handler: Handler, newest: int | None) -> Coverage:
    return Coverage(
        handler.domain or _ONNX, handler.op_type, newest, "handler", handler.place, handler.since, handler.layout.name
    )


def _unhandled(table: HandlerTable, newest: dict[tuple[str, str], int]) -> Iterable[Coverage]:
    from bundler.graph.expand import EXPANDED

    handled = {(handler.domain, handler.op_type) for handler in table.registered()}
    for (domain, name), opset in newest.items():
        if (domain, name) not in handled:
            status: Status = "expanded" if (domain, name) in EXPANDED else "missing"
            yield Coverage(domain or _ONNX, name, opset, status)


def _schemas() -> dict[tuple[str, str], int]:
    """Return the opset of the newest definition by (domain, operator), without deprecated operators."""
    import onnx.defs

    newest: dict[tuple[str, str], Any] = {}
    for schema in onnx.defs.get_all_schemas_with_history():
        key = schema.domain, schema.name
        if schema.domain in _LISTED and (key not in newest or schema.since_version > newest[key].since_version):
            newest[key] = schema
    return {key: schema.since_version for key, schema in newest.items() if not schema.deprecated}


def matching(rows: Sequence[Coverage], pattern: str) -> tuple[Coverage, ...]:
    """Return the rows whose name contains the pattern or matches it as a wildcard, such as `*Pool`.

    Case is ignored, and the pattern may begin with `domain::`.

    Raises:
        UsageError: No row matches; the advice lists similar names.
    """
    lowered = pattern.lower()
    matches = tuple(row for row in rows if _matches(row, lowered))
    if matches:
        return matches
    import difflib

    names = {row.name.lower(): row.name for row in rows}
    similar = [names[name] for name in difflib.get_close_matches(lowered, names, n=3)]
    raise UsageError(
        f"No operator matches {pattern!r}.",
        fix=f"did you mean {' or '.join(similar)}?"
        if similar
        else "run `tfbundle ops` to list all operators, or use a pattern such as '*Pool'",
        code="TFB1002",
    )


def _matches(row: Coverage, pattern: str) -> bool:
    names = row.name.lower(), f"{row.domain}::{row.name}".lower()
    return any(pattern in name or fnmatch.fnmatchcase(name, pattern) for name in names)


def summary(rows: Sequence[Coverage]) -> dict[str, tuple[int, int | None]]:
    """Return, by domain, the number of operators that convert and the number of all operators.

    The latter is None for a domain of which no complete list exists.
    """
    counts: dict[str, tuple[int, int | None]] = {}
    for domain in dict.fromkeys(row.domain for row in rows):
        statuses = {row.name: row.status for row in rows if row.domain == domain}
        complete = any(row.newest is not None for row in rows if row.domain == domain)
        converted = sum(status != "missing" for status in statuses.values())
        counts[domain] = (converted, len(statuses) if complete else None)
    return counts


def markdown(rows: Sequence[Coverage]) -> str:
    """Return the text of docs/operators.md."""
    import onnx

    lines = [
        "# Operators", "",
        f"The operators that the native engine converts, compared with onnx {onnx.__version__}. To write this file, run",
        "", "    tfbundle ops --markdown > docs/operators.md", "",
        "*expanded*: the operator is replaced by the graph of other operators with which ONNX defines it. *since*: the first",
        "opset for which the handler is correct; older models are converted to opset 21 first. *layout*: the handler's",
        "requirement on the order of axes (docs/architecture.md). For your own operators, see docs/custom-ops.md.", "",
        "| domain | operators | converted |", "|---|---|---|",
        *(f"| {domain} | {'' if total is None else total} | {count} |" for domain, (count, total) in summary(rows).items()),
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
