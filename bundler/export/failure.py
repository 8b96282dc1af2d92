"""Errors of torch's exporter: the cause in two lines, and torch's own report in a file that the message names."""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from bundler.errors import ExportError, TfbundleError
from bundler.export.packed import WAY_OUT
from bundler.process.causes import chain_of
from bundler.process.reports import keep_report
from bundler.sources.user_code import first_line, is_user_file, user_line

_FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+), in [^\n]+\n\s*(?P<code>[^\n]+)')
_OPERATOR = re.compile(r"^- `(?P<op>[^`]+)`: .*All nodes: `\[(?P<node>\w+)", re.MULTILINE)
_COMMENT = re.compile(r"# .*?File: (?P<file>.+?):(?P<line>\d+) in \w+, code: (?P<code>.+)")
_UNSUPPORTED = re.compile(r"Exporting the operator '(?P<op>[\w:.]+)' to ONNX opset version (?P<opset>\d+)")

_TORCH_OPERATORS = ("aten::", "aten.", "prims")

_FIXED = re.compile(
    r"inferred a static shape of (?P<size>\d+) for dimension inputs\['\w+'\]\[(?P<index>\d+)\]\.shape\[(?P<axis>\d+)\]"
)
SIZES_LOGGER = "torch.fx.experimental.symbolic_shapes"
"""The logger of torch that tells, at INFO, which line of the model's code compares a size with a number."""
_SYMBOL = re.compile(
    r"^create_symbol (?P<symbol>\w+) = \d+ for L\['\w+'\]\[(?P<index>\d+)\]\.size\(\)\[(?P<axis>\d+)\]", re.MULTILINE
)
_GUARD = r"^(?:eval|runtime_assert) Eq\({symbol}, {size}\) \[guard added\] (?P<code>.+?)  # (?P<file>.+?):(?P<line>\d+) in "

_PACKED_FILES = ("torch/nn/utils/rnn.py", "bundler/export/packed.py")
_PACKED = re.compile(r"pack_(padded_)?sequence|pad_packed_sequence|PackedSequence")

_RULES: tuple[tuple[str, str, str], ...] = (
    (
        r"data-dependent|GuardOnDataDependent",
        "a branch or the size of a tensor depends on values, which a graph cannot express",
        "use torch.where or torch.cond in place of the branch",
    ),
    (
        r"Constraints violated|ConstraintViolation|specialized it to be a constant",
        "a dim that should be dynamic works with one size only",
        "use x.shape in place of a number, or fix the dim's size with --input",
    ),
    (
        r"'Node' object is not iterable",
        "torch before 2.11 cannot write while_loop, which the model calls",
        "pip install 'torch>=2.11', or write a loop with a fixed number of steps",
    ),
)


def explain(
    exc: Exception, title: str, inputs: Sequence[str], reports: Path, chatter: str
) -> TfbundleError:
    """Return an ExportError with the cause, the user's line, a remedy, and the path of torch's report.

    Args:
        exc: the exception that torch raised.
        title: class of the model.
        inputs: names of its inputs, in torch's order.
        reports: folder with the reports that torch wrote, if there are any.
        chatter: the text that torch printed.

    Returns:
        The error; if a TfbundleError is among the causes of `exc`, that one.
    """
    causes = _chain(exc)
    known = next((cause for cause in causes if isinstance(cause, TfbundleError)), None)
    if known is not None:
        known.where = known.where or _line(causes)
        return known
    text = "\n\n".join(path.read_text("utf-8", "replace") for path in sorted(reports.glob("*.md")))
    report = _keep(text or "".join(traceback.format_exception(exc)), title, chatter)
    # The report lists operators after any failure; they are the cause only if a look-up has failed.
    operators = unsupported_operators(text) if any("No ONNX function found" in str(c) for c in causes) else []
    if operators:
        rows = "\n  ".join(operators)
        custom = next((row.split()[0].replace(".", "::", 1) for row in operators if not row.startswith(_TORCH_OPERATORS)), None)
        hint = f', or write a handler for it with @op(…, torch="{custom}") and --ops' if custom else ""
        return ExportError(
            f"torch cannot export {title} to ONNX, which does not support:\n  {rows}",
            fix=f"use other operators{hint}; torch's report is in {report}",
            code="TFB2302",
        )
    cause, fix = _cause(causes, inputs)
    if _uses_packed_sequences(causes):
        cause, fix = f"it uses pack_padded_sequence or a PackedSequence in a form that cannot be traced ({cause})", WAY_OUT
    separator = "\n    " if "\n" in fix else "; "  # code to write has lines of its own
    return ExportError(
        f"torch cannot export {title} to ONNX: {cause}.",
        where=_line(causes) or _fixing_line(causes, chatter),
        fix=separator.join((fix, f"torch's report is in {report}")),
        code="TFB2301",
    )


def unsupported_operators(report: str) -> list[str]:
    """Return `operator at file:line: code` for each operator that a report of torch's exporter lists as unsupported."""
    rows = []
    for match in _OPERATOR.finditer(report):
        place = _place(report, match["node"])
        rows.append(f"{match['op'].removesuffix('.default')}{f' at {place}' if place else ''}")
    return rows


def _place(report: str, node: str) -> str | None:
    """Return the comment above a node in the exported program: the line of Python that it was traced from."""
    place = None
    for line in report.splitlines():
        comment = _COMMENT.search(line)
        if comment:
            place = f"{comment['file']}:{comment['line']}: {comment['code'].strip()}"
        elif re.match(rf"\s*{re.escape(node)}\b[^=]*=", line):
            return place
    return None


def _chain(exc: BaseException) -> list[BaseException]:
    """Return the exception and its causes, the deepest first."""
    return list(chain_of(exc))[::-1]


def _cause(causes: list[BaseException], inputs: Sequence[str]) -> tuple[str, str]:
    text = "\n".join(str(cause) for cause in causes)
    dim = _FIXED.search(text)
    if dim:
        name = inputs[int(dim["index"])] if int(dim["index"]) < len(inputs) else "?"
        axis, size = dim["axis"], dim["size"]
        return (
            f"its code uses the size of axis {axis} of {name!r} as the constant {size}",
            f"use x.shape[{axis}] in place of a number, or fix the axis to the size {size} with --input",
        )
    operator = _UNSUPPORTED.search(text)
    if operator:
        op, opset = operator["op"], operator["opset"]
        return f"opset {opset} does not support {op}", "use a newer --opset or other operators"
    for pattern, what, fix in _RULES:
        if re.search(pattern, text):
            return what, fix
    return first_line(causes[0])[:300].rstrip("."), "check the code that torch could not trace"


def _line(causes: list[BaseException]) -> str | None:
    """Return the user's line: the one that torch names in a message, else the one that the exception came from."""
    for cause in causes:
        frames = [m for m in _FRAME.finditer(str(cause)) if is_user_file(m["file"])]
        if frames:
            return f"{frames[-1]['file']}:{frames[-1]['line']}: {frames[-1]['code'].strip()}"
    for cause in causes:
        line = user_line(cause)
        if line and is_user_file(line.partition(":")[0]):
            return line
    return None


def _fixing_line(causes: list[BaseException], chatter: str) -> str | None:
    """Return the line of the model's code that fixes a dim, if torch has logged it."""
    dim = _FIXED.search("\n".join(map(str, causes)))
    if dim is None:
        return None
    for created in _SYMBOL.finditer(chatter):
        if (created["index"], created["axis"]) == (dim["index"], dim["axis"]):
            guard = re.search(_GUARD.format(symbol=created["symbol"], size=dim["size"]), chatter, re.MULTILINE)
            if guard and is_user_file(_whole_path(guard["file"])):
                return f"{_whole_path(guard['file'])}:{guard['line']}: {guard['code'].strip()}"
    return None


def _whole_path(path: str) -> str:
    """Return the path of an imported file, of which torch leaves out the characters that its own path begins with, too."""
    files = (str(getattr(module, "__file__", None) or "") for module in list(sys.modules.values()))
    return next((file for file in files if file.endswith(path)), path)


def _uses_packed_sequences(causes: list[BaseException]) -> bool:
    """Whether an exception comes from torch's packed sequences, their substitute, or a line of the user that names them."""
    frames = [frame for cause in causes for frame in traceback.extract_tb(cause.__traceback__)]
    files = any(Path(frame.filename).as_posix().endswith(_PACKED_FILES) for frame in frames)
    lines = [frame.line or "" for frame in frames if is_user_file(frame.filename)]
    return files or any(_PACKED.search(line) for line in lines)


def _keep(text: str, title: str, chatter: str) -> Path:
    parts = [text, f"## Output of torch\n\n{chatter}"] if chatter.strip() else [text]
    return keep_report(f"export-{title}", ".md", "\n\n".join(parts))
