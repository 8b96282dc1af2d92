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
_NO_FUNCTION = re.compile(r"No ONNX function found for <OpOverload\(op='(?P<op>[\w.]+)'")
_UNSUPPORTED = re.compile(r"Exporting the operator '(?P<op>[\w:.]+)' to ONNX opset version (?P<opset>\d+)")

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
    if isinstance(exc, TfbundleError):
        return exc
    causes = _chain(exc)
    cause, fix = _cause(causes, inputs)
    report = _keep(exc, title, reports, chatter)
    return ExportError(
        f"torch cannot export {title} to ONNX: {cause}.",
        where=_line(causes),
        fix=f"{fix}; torch's report is in {report}",
    )


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
    operator = _NO_FUNCTION.search(text)
    if operator:
        return f"it has no ONNX form of the operator {operator['op']}", "write it with other operators"
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


def _keep(exc: Exception, title: str, reports: Path, chatter: str) -> Path:
    """Write the report to the current folder, or where that cannot be written to the folder for temporary files."""
    parts = [path.read_text("utf-8", "replace") for path in sorted(reports.glob("*.md"))]
    if not parts:
        parts = ["".join(traceback.format_exception(exc))]
    if chatter.strip():
        parts.append(f"## What torch printed\n\n{chatter}")
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    name = f"tfbundle-export-{re.sub(r'[^A-Za-z0-9_-]', '_', title)}-{stamp}.md"
    folder = Path.cwd() if os.access(Path.cwd(), os.W_OK) else Path(tempfile.gettempdir())
    path = folder / name
    path.write_text("\n\n".join(parts), "utf-8")
    return path
