"""The cases whose answer is not compared or not right, each with its reason.

`listed.txt` names them. `python -m tests.opinfo --write` writes it after a run, and prints the outcomes without a reason.
The list is strict: a test fails if a listed case becomes right or has another reason.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.opinfo.pool import Result

PATH = Path(__file__).with_name("listed.txt")
RIGHT = "right"


@dataclass(frozen=True)
class Reason:
    """Why some cases are listed.

    Attributes:
        column: the column of the counts, one of COLUMNS.
        kind: the outcome's kind (see tests.opinfo.check).
        pattern: a regular expression that the outcome's detail matches.
        sentence: what a reader should know.
        operators: a regular expression of the names that the reason holds for.
    """

    column: str
    kind: str
    pattern: str
    sentence: str
    operators: str = ".*"


EXPORT, HOLD, REFUSED, NONE = "torch cannot export", "TensorFlow cannot hold", "refused by us", "nothing to compare"
GRAPH = "exported graph at fault"
COLUMNS = (RIGHT, EXPORT, GRAPH, HOLD, REFUSED, "wrong", "crash", NONE)

REASONS: dict[str, Reason] = {
    "no-translation": Reason(
        EXPORT, "export", "which does not support:",
        "torch has no ONNX form of an operator that the sample calls.",
    ),
    "no-overload": Reason(
        EXPORT, "export", "Required parameter .* is not provided|received all None or empty|has no attribute 'ndim'",
        "torch's translation of the operator does not take this form of its arguments.",
    ),
    "complex": Reason(
        EXPORT, "export", "has complex inputs or outputs",
        "The result is complex, which torch cannot write.",
    ),
    "dtype": Reason(
        EXPORT, "export", "has the dtype .*, which a served signature",
        "The result has a dtype that a signature does not support.",
    ),
    "data-dependent": Reason(
        EXPORT, "export", "depends on values, which a graph cannot express",
        "A branch or the size of a tensor depends on values.",
    ),
    "not-functional": Reason(
        EXPORT, "export", "expected to have an entirely functional graph",
        "The sample writes into its inputs, which torch cannot trace.",
    ),
    "fixed-size": Reason(
        EXPORT, "export", "as the constant|works with one size only|fixes the dim|not in VR",
        "torch takes the dynamic size for a constant.",
    ),
    "untraceable": Reason(
        EXPORT, "export", "torch cannot export",
        "torch fails while it traces or translates the sample; the message is torch's own.",
    ),
    "not-tensors": Reason(
        EXPORT, "export", "which is not a tensor|returns no tensor",
        "The sample also returns a number, which a graph cannot.",
    ),
    "sparse": Reason(
        EXPORT, "export", "does not run on its example inputs: NotImplementedError.*aten::_?sparse",
        "The operands are sparse tensors, which no served signature holds.",
    ),
    "training-statistics": Reason(
        GRAPH, "export", "torch's graph( by ONNX's reference)?: ",
        "torch writes batch normalization in training mode as in inference: with the stored statistics instead of the batch's.",
        ".*batch_norm.*",
    ),
    "ties": Reason(
        GRAPH, "export", "torch's graph( by ONNX's reference)?: output 'c0(_1)?' at",
        "Equal elements are in another order: PyTorch promises none, ONNX's TopK has the lowest index first.",
        "sort|argsort|msort|topk",
    ),
    "log-ndtr": Reason(
        GRAPH, "wrong", "NaN or infinity are at other positions than expected \\(ONNX Runtime: output .* NaN or infinity",
        "torch writes log(ndtr(x)), whose argument is 0 for large negative x, from a slightly other x on in each runtime.",
        "special.log_ndtr",
    ),
    "emptied-axis": Reason(
        GRAPH, "wrong", "GatherV2: indices.*ONNX's reference: index can't contain negative values",
        "Edges of an axis that negative pads have emptied are repeated. ONNX Runtime has no bfloat16, and refuses float32.",
        "nn.functional.pad.replicate_negative",
    ),
    "half-overflow": Reason(
        GRAPH, "export", "torch's graph by ONNX's reference: .* NaN or infinity",
        "A power in the graph exceeds float16, as it does in ONNX's reference. ONNX Runtime keeps float32 between such nodes.",
    ),
    "torch-graph": Reason(
        GRAPH, "export", "torch's graph( by ONNX's reference)?: ",
        "The graph that torch writes means something else than the sample: ONNX Runtime answers as TensorFlow does, or ONNX's "
        "reference where that has no kernel.",
    ),
    "torch-graph-fails": Reason(
        GRAPH, "export", "torch's graph does not run:",
        "The exported graph itself fails at this size in ONNX Runtime, as it does in TensorFlow.",
    ),
    "torch-graph-invalid": Reason(
        GRAPH, "export", "torch's graph is not valid:",
        "ONNX Runtime does not load the exported graph, since it breaks ONNX's rules of types or shapes.",
    ),
    "rank": Reason(
        HOLD, "refused", "Squeeze without axes needs",
        "The rank of the result depends on a dynamic size, which no signature holds.",
    ),
    "training-dropout": Reason(
        REFUSED, "refused", "Dropout is in training mode",
        "Dropout in training mode draws random numbers, which a served model must not.",
    ),
    "half-coordinates": Reason(
        NONE, "wrong", "output 'c0' at",
        "PyTorch rounds the coordinates to half precision. The model computes them in float32, as PyTorch does at float32.",
        "grid_sampler_2d",
    ),
    "not-on-this-machine": Reason(
        NONE, "none", "PyTorch: |torch makes no samples",
        "PyTorch itself cannot run the sample on a CPU.",
    ),
    "no-tensor": Reason(
        NONE, "none", "the answer has no tensor",
        "The operator returns a number.",
    ),
    "one-size": Reason(
        NONE, "none", "no other size of the first dim",
        "The sample works with one size of the first dim only.",
    ),
}  # fmt: skip


def reason(result: Result) -> str | None:
    """Return the key of the first reason that explains an outcome, or None."""
    operator = result.case.split(" ")[0]
    return next((key for key, r in REASONS.items() if _holds(r, operator, result)), None)


def _holds(why: Reason, operator: str, result: Result) -> bool:
    fits = why.kind == result.kind and re.fullmatch(why.operators, operator)
    return bool(fits and re.search(why.pattern, result.detail))


@cache
def listed() -> Mapping[str, str]:
    """Return the key of the reason by case."""
    return dict(_parsed(PATH.read_text("utf-8")))


def _parsed(text: str) -> Iterator[tuple[str, str]]:
    key = ""
    for line in text.splitlines():
        if line.startswith("["):
            key = line.strip("[]")
        elif line:
            op, dtype, *cases = line.split(" ")
            yield from ((_case(op, dtype, short), key) for short in cases)


def _case(op: str, dtype: str, short: str) -> str:
    if short == "samples":
        return f"{op} {dtype} samples"
    return f"{op} {dtype} {short[:-1]} {'dynamic' if short[-1] == 'd' else 'static'}"


def _short(case: str) -> tuple[str, str]:
    head, _, tail = case.rpartition(" ")
    if tail == "samples":
        return head, tail
    head, _, sample = head.rpartition(" ")
    return head, f"{sample}{tail[0]}"


def write(results: Iterable[Result]) -> list[Result]:
    """Write the list, and return the outcomes that no reason explains."""
    sections: dict[str, dict[str, list[str]]] = {key: {} for key in REASONS}
    unexplained = []
    for result in sorted((r for r in results if r.kind != RIGHT), key=lambda r: r.case):
        key = reason(result)
        if key is None:
            unexplained.append(result)
            continue
        head, short = _short(result.case)
        sections[key].setdefault(head, []).append(short)
    lines = []
    for key, rows in sections.items():
        if rows:
            lines += [f"[{key}]", *(f"{head} {' '.join(cases)}" for head, cases in sorted(rows.items())), ""]
    PATH.write_text("\n".join(lines), "utf-8")
    return unexplained


def problem(result: Result) -> str | None:
    """Return how an outcome contradicts the list, or None."""
    known, found = listed().get(result.case), reason(result)
    if result.kind == RIGHT:
        return (
            None if known is None else f"{result.case} is right now: remove it from tests/opinfo/listed.txt ({known})"
        )
    if known is not None and known == found:
        return None
    return f"{result.case}: {result.kind}: {result.detail}" + (f" (listed as {known})" if known else "")


def column(result: Result) -> str:
    """Return the column of the counts that an outcome belongs to."""
    key = reason(result)
    if key is not None:
        return REASONS[key].column
    return {"export": EXPORT, "refused": REFUSED, "none": NONE}.get(result.kind, result.kind)
