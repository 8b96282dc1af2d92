"""Why torch could not export a model, in two lines, and its own report where the user finds it."""

from __future__ import annotations

import os
import re
import tempfile
import traceback
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from bundler.errors import ExportError, TfbundleError
from bundler.sources.user_code import first_line, is_user_file, user_line

_FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+), in [^\n]+\n\s*(?P<code>[^\n]+)')
_OPERATOR = re.compile(r"^- `(?P<op>[^`]+)`: .*All nodes: `\[(?P<node>\w+)", re.MULTILINE)
_COMMENT = re.compile(r"# .*?File: (?P<file>.+?):(?P<line>\d+) in \w+, code: (?P<code>.+)")
_UNSUPPORTED = re.compile(r"Exporting the operator '(?P<op>[\w:.]+)' to ONNX opset version (?P<opset>\d+)")

_TORCHS = ("aten::", "aten.", "prims")

_FIXED = re.compile(
    r"inferred a static shape of (?P<size>\d+) for dimension inputs\['\w+'\]\[(?P<index>\d+)\]\.shape\[(?P<axis>\d+)\]"
)

_RULES: tuple[tuple[str, str, str], ...] = (
    (
        r"data-dependent|GuardOnDataDependent",
        "the code branches or sizes a tensor on values, which a graph cannot do",
        "use torch.where or torch.cond in place of the branch",
    ),
    (
        r"Constraints violated|ConstraintViolation|specialized it to be a constant",
        "a dim that was to be dynamic has to keep one size",
        "use x.shape in place of a number, or give the dim a size with --input",
    ),
)


def explain(
    exc: Exception, title: str, inputs: Sequence[str], reports: Path, chatter: str
) -> TfbundleError:
    """An ExportError with the cause, the user's line, what to do, and the path of the report that was kept.

    Args:
        exc: what torch raised.
        title: class of the model.
        inputs: names of its inputs, in the order in which torch has them.
        reports: folder with the reports that torch wrote, if any.
        chatter: what torch printed.
    """
    causes = _chain(exc)
    ours = next((cause for cause in causes if isinstance(cause, TfbundleError)), None)
    if ours is not None:
        return ours
    text = "\n\n".join(path.read_text("utf-8", "replace") for path in sorted(reports.glob("*.md")))
    report = _keep(text or "".join(traceback.format_exception(exc)), title, chatter)
    # The report lists operators after any failure; they are its reason only where one was looked up in vain.
    operators = unsupported_operators(text) if any("No ONNX function found" in str(c) for c in causes) else []
    if operators:
        rows = "\n  ".join(operators)
        own = next((row.split()[0].replace(".", "::", 1) for row in operators if not row.startswith(_TORCHS)), None)
        hint = f', or give it a handler of your own with @op(…, torch="{own}") and --ops' if own else ""
        return ExportError(
            f"torch cannot export {title} to ONNX, which has no form of:\n  {rows}",
            fix=f"write it with other operators{hint}; torch's report is in {report}",
        )
    cause, fix = _cause(causes, inputs)
    return ExportError(
        f"torch cannot export {title} to ONNX: {cause}.",
        where=_line(causes),
        fix=f"{fix}; torch's report is in {report}",
    )


def unsupported_operators(report: str) -> list[str]:
    """`operator at file:line: code` for every operator that a report of torch's exporter says it cannot write."""
    rows = []
    for match in _OPERATOR.finditer(report):
        place = _place(report, match["node"])
        rows.append(f"{match['op'].removesuffix('.default')}{f' at {place}' if place else ''}")
    return rows


def _place(report: str, node: str) -> str | None:
    """The comment above a node in the exported program: the line of Python it was traced from."""
    place = None
    for line in report.splitlines():
        comment = _COMMENT.search(line)
        if comment:
            place = f"{comment['file']}:{comment['line']}: {comment['code'].strip()}"
        elif re.match(rf"\s*{re.escape(node)}\b[^=]*=", line):
            return place
    return None


def _chain(exc: BaseException) -> list[BaseException]:
    """The exception and its causes, the deepest first."""
    chain: list[BaseException] = []
    current: BaseException | None = exc
    while current is not None and current not in chain:
        chain.insert(0, current)
        current = current.__cause__ or current.__context__
    return chain


def _cause(causes: list[BaseException], inputs: Sequence[str]) -> tuple[str, str]:
    text = "\n".join(str(cause) for cause in causes)
    dim = _FIXED.search(text)
    if dim:
        name = inputs[int(dim["index"])] if int(dim["index"]) < len(inputs) else "?"
        axis, size = dim["axis"], dim["size"]
        return (
            f"its code takes the size of axis {axis} of {name!r} as the constant {size}",
            f"use x.shape[{axis}] in place of a number, or give the axis the size {size} with --input",
        )
    operator = _UNSUPPORTED.search(text)
    if operator:
        op, opset = operator["op"], operator["opset"]
        return f"it has no form of {op} in opset {opset}", "ask for a newer --opset or write it with other operators"
    for pattern, what, fix in _RULES:
        if re.search(pattern, text):
            return what, fix
    return first_line(causes[0])[:300].rstrip("."), "see what torch could not trace"


def _line(causes: list[BaseException]) -> str | None:
    """The user's line: the one that torch names in a message, else where the exception came from."""
    for cause in causes:
        frames = [m for m in _FRAME.finditer(str(cause)) if is_user_file(m["file"])]
        if frames:
            return f"{frames[-1]['file']}:{frames[-1]['line']}: {frames[-1]['code'].strip()}"
    for cause in causes:
        line = user_line(cause)
        if line and is_user_file(line.partition(":")[0]):
            return line
    return None


def _keep(text: str, title: str, chatter: str) -> Path:
    """Write the report to the current folder, or where that cannot be written to the folder for temporary files."""
    parts = [text, f"## What torch printed\n\n{chatter}"] if chatter.strip() else [text]
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    name = f"tfbundle-export-{re.sub(r'[^A-Za-z0-9_-]', '_', title)}-{stamp}.md"
    folder = Path.cwd() if os.access(Path.cwd(), os.W_OK) else Path(tempfile.gettempdir())
    path = folder / name
    path.write_text("\n\n".join(parts), "utf-8")
    return path
