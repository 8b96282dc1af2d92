"""Exports, converts and runs cases, and compares the answers with PyTorch's.

Several cases of an operator are exported as one module, which is many times faster. If that fails, or a case of it is not right,
the outcome of the case alone counts.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import tensorflow as tf
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from bundler.converters import load_converter
from bundler.errors import ConversionError, ExportError, SourceError, TfbundleError
from bundler.graph.onnx_runtime import OnnxModel
from bundler.sources.tensors import to_numpy
from bundler.values.arrays import Array
from bundler.values.exported import ExportedSignature
from serving.golden.compare import compare
from tests.bundler.exporting import export_module
from tests.opinfo.samples import DYNAMIC_SIZES, UNINITIALIZED, Case, Sample, first_dims, resized, seed

TOLERANCES = {"float16": 1e-2, "bfloat16": 8e-2}
"""Relative tolerances by dtype (see serving.golden.compare), about ten units in the last place; 1e-4 for other dtypes."""

_REJECTED = "ONNX Runtime rejects the model"
ABSOLUTE = 1e-6
"""An absolute error that is always within tolerance, a tenth of what torch's own tests of these samples allow."""

RIGHT, EXPORT, REFUSED, WRONG, CRASH, NONE = "right", "export", "refused", "wrong", "crash", "none"
"""Outcomes. `export`: torch refuses the sample, or ONNX Runtime answers or fails as TensorFlow does where PyTorch does not; for
half precision, ONNX's reference counts, too. `refused`: the engine rejects the graph. `crash`: an exception without a message of
ours. `none`: PyTorch itself has no answer."""


@dataclass(frozen=True)
class Outcome:
    """What became of a case, with its reason."""

    kind: str
    detail: str = ""


@dataclass(frozen=True)
class Call:
    """A case that PyTorch answers.

    Attributes:
        dims: the inputs whose first dim is dynamic.
        sizes: the sizes of that dim that PyTorch takes.
    """

    case: Case
    sample: Sample
    dims: tuple[int, ...]
    sizes: tuple[int, ...]

    def tensors(self, size: int = 3) -> tuple[Tensor, ...]:
        """Return the inputs at a size of the dynamic dim; a sample without tensors gets one that it does not use."""
        return resized(self.sample.tensors, self.dims, size) or (torch.zeros(1),)


class Batch(nn.Module):
    """Several calls as one module, whose outputs are named after them: `c0`, `c1` …"""

    def __init__(self, calls: Sequence[Call]) -> None:
        super().__init__()
        self.samples = [call.sample for call in calls]
        self.counts = [len(call.tensors()) for call in calls]

    def forward(self, *x: Tensor) -> Any:
        answers, start = {}, 0
        for index, (sample, count) in enumerate(zip(self.samples, self.counts, strict=True)):
            answers[f"c{index}"] = sample(*x[start : start + count])
            start += count
        return answers


def outcomes(cases: Mapping[Case, Sample]) -> Iterator[tuple[Case, Outcome]]:
    """Yield what becomes of each case; all are of one operator."""
    calls = []
    for case, sample in cases.items():
        call = _call(case, sample)
        if isinstance(call, Outcome):
            yield case, call
        else:
            calls.append(call)
    yield from _outcomes(calls)


def _outcomes(calls: Sequence[Call]) -> Iterator[tuple[Case, Outcome]]:
    """Yield the outcomes of calls: of all together, of those not right by static and dynamic, then of each alone."""
    found = _together(calls) if calls else {}
    if len(calls) == 1:
        yield calls[0].case, found[0]
        return
    others = []
    for index, call in enumerate(calls):
        if found[index].kind == RIGHT:
            yield call.case, found[index]
        else:
            others.append(call)
    parts = [[call for call in others if call.case.dynamic is dynamic] for dynamic in (False, True)]
    for part in parts if all(parts) and len(others) == len(calls) else [[call] for call in others]:
        yield from _outcomes(part)


def _call(case: Case, sample: Sample) -> Call | Outcome:
    dims, sizes = (_dynamic(sample) or ((), ())) if case.dynamic else ((), ())
    if case.dynamic and not dims:
        return Outcome(NONE, "PyTorch takes no other size of the first dim")
    call = Call(case, sample, dims, sizes)
    try:
        answer = _run(sample, call.tensors())
    except Exception as exc:  # noqa: BLE001 (some samples need what this machine lacks)
        return Outcome(NONE, f"PyTorch: {_line(exc)}")
    leaves = pytree.tree_leaves(answer)
    if not any(isinstance(leaf, Tensor) for leaf in leaves):
        return Outcome(NONE, "the answer has no tensor")
    return call


def _run(sample: Sample, tensors: Sequence[Tensor]) -> Any:
    with torch.no_grad():
        return sample(*(t.clone() for t in tensors))


def _dynamic(sample: Sample) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """Return the inputs whose first dim can be dynamic, and the sizes that PyTorch takes; None if it takes no other.

    The number of outputs and their ranks must not depend on the size (as they do in split), since a signature fixes them.
    """
    for dims in first_dims(sample):
        ranks = {size: _ranks(sample, dims, size) for size in (*DYNAMIC_SIZES, 4)}
        sizes = tuple(size for size in DYNAMIC_SIZES if ranks[size] is not None and ranks[size] == ranks[3])
        if 3 in sizes and ranks[4] == ranks[3]:
            return dims, sizes
    return None


def _ranks(sample: Sample, dims: Sequence[int], size: int) -> list[int] | None:
    """Return the ranks of the outputs, or None if PyTorch does not take the size."""
    try:
        answer = _run(sample, resized(sample.tensors, dims, size))
    except Exception:  # noqa: BLE001 (any exception of PyTorch means no)
        return None
    return [leaf.dim() for leaf in pytree.tree_leaves(answer) if isinstance(leaf, Tensor)]


def _together(calls: Sequence[Call]) -> dict[int, Outcome]:
    """Return the outcome of each call by its index, if all are exported as one module."""
    with tempfile.TemporaryDirectory(prefix="opinfo-") as folder:
        try:
            exported = _exported(calls, Path(folder))
            model = load_converter("native").convert({exported.name: exported.onnx})
        except ConversionError as exc:
            invalid = _invalid(Path(folder)) if len(calls) == 1 else None
            failure = (
                Outcome(EXPORT, f"torch's graph is not valid: {invalid}") if invalid else Outcome(REFUSED, _line(exc))
            )
        except (ExportError, SourceError) as exc:
            failure = Outcome(EXPORT, _line(exc))
        except Exception as exc:  # noqa: BLE001 (this is what the suite looks for)
            failure = Outcome(CRASH, f"{type(exc).__name__}: {_line(exc)}")
        else:
            return _compared(calls, exported, model)
    return dict.fromkeys(range(len(calls)), failure)


def _invalid(folder: Path) -> str | None:
    """Return why ONNX Runtime rejects the graph in a folder, or None if it does not."""
    try:
        OnnxModel(folder / "serving_default.onnx")
    except TfbundleError as exc:
        return _line(exc) if _REJECTED in _line(exc) else None
    return None


def _exported(calls: Sequence[Call], folder: Path) -> ExportedSignature:
    specs, examples = [], []
    for number, call in enumerate(calls):
        for index, tensor in enumerate(call.tensors()):
            dims = [f"n{number}" if axis == 0 and index in call.dims else str(n) for axis, n in enumerate(tensor.shape)]
            specs.append(f"x_{len(specs)}={str(tensor.dtype).removeprefix('torch.')}[{','.join(dims)}]")
            examples.append(tensor)
    seed()
    return export_module(Batch(calls), folder, tuple(examples), tuple(specs))[0]


def _compared(calls: Sequence[Call], exported: ExportedSignature, model: Any) -> dict[int, Outcome]:
    """Run the model at every size, and return the outcome of each call: its first problem, or that it is right."""
    found: dict[int, Outcome] = {}
    draws = _draws(exported.onnx)
    for size in DYNAMIC_SIZES if any(call.dims for call in calls) else (3,):
        present = [index for index, call in enumerate(calls) if not call.dims or size in call.sizes]
        if not present:
            continue
        tensors = [t for i, call in enumerate(calls) for t in call.tensors(size if i in present else 3)]
        inputs = {f"x_{index}": to_numpy(t) for index, t in enumerate(tensors)}
        want = exported.reference(inputs)
        try:
            got = {name: tensor.numpy() for name, tensor in model.run(exported.name, inputs).items()}
        except (tf.errors.OpError, ValueError, TypeError) as exc:
            got, failure = None, _tensorflow_line(exc)
        for index in present:
            call = calls[index]
            tolerance = None if draws or call.case.op in UNINITIALIZED else TOLERANCES.get(call.case.dtype, 1e-4)
            part = _of(index, want)
            problem = failure if got is None else _problem(part, _of(index, got), tolerance)
            if problem is not None:
                outcome = (
                    _witnessed(problem, part, got, exported, inputs, tolerance) if len(calls) == 1 else Outcome(WRONG)
                )
                at = f"at {size}: " if call.dims else ""
                found.setdefault(index, Outcome(outcome.kind, at + outcome.detail))
    return {index: found.get(index, Outcome(RIGHT)) for index in range(len(calls))}


def _of(index: int, outputs: Mapping[str, Array]) -> dict[str, Array]:
    """Return the outputs of one call."""
    return {name: array for name, array in outputs.items() if re.match(rf"c{index}(?!\d)", name)}


def _witnessed(
    problem: str,
    want: Mapping[str, Array],
    got: Mapping[str, Array] | None,
    exported: ExportedSignature,
    inputs: Mapping[str, Array],
    tolerance: float | None,
) -> Outcome:
    """Ask ONNX Runtime, or ONNX's reference where that has no kernel, whether the graph or the engine is wrong.

    ONNX Runtime computes chains of float16 nodes in float32. Where it is right, the reference decides: it rounds after each node.
    """
    remarks: list[str] = []
    half = any(array.dtype.name in TOLERANCES for array in want.values())
    for name, run in (("ONNX Runtime", OnnxModel), ("ONNX's reference", _reference)):
        try:
            reference = run(exported.onnx)(inputs)
        except Exception as exc:  # noqa: BLE001 (a witness that does not answer says nothing)
            if _REJECTED in _line(exc):
                return Outcome(EXPORT, f"torch's graph is not valid: {_line(exc)[:200]}")
            if got is None and "ONNX Runtime failed" in _line(exc):
                return Outcome(EXPORT, f"torch's graph does not run: {_line(exc)[:200]}")
            remarks.append(f"{name}: {_line(exc)[:120]}")
            continue
        theirs = _problem(want, reference, tolerance)
        if theirs is not None and got is not None and _problem(reference, got, tolerance) is None:
            by = "" if run is OnnxModel else f" by {name}"
            return Outcome(EXPORT, f"torch's graph{by}: {theirs}")
        remarks.append(f"{name}: {theirs or 'right'}")
        if theirs is not None or not half:
            break
    return Outcome(WRONG, f"{problem} ({'; '.join(remarks)})")


def _reference(path: Path) -> Any:
    """Return ONNX's reference implementation of a graph, as a function of arrays that returns arrays by name."""
    from onnx.reference import ReferenceEvaluator

    session = ReferenceEvaluator(str(path))
    return lambda inputs: dict(zip(session.output_names, session.run(None, dict(inputs)), strict=True))


def _draws(path: Path) -> bool:
    """Return whether a graph draws random numbers."""
    model = onnx.load(path)
    nodes = [*model.graph.node, *(node for function in model.functions for node in function.node)]
    return any(
        node.op_type.startswith("Random") or node.op_type in ("Bernoulli", "Multinomial", "Dropout") for node in nodes
    )


def _problem(want: Mapping[str, Array], got: Mapping[str, Array], tolerance: float | None) -> str | None:
    """Return the first difference; without a tolerance, dtypes and shapes alone count."""
    for name, array in want.items():
        other = np.asarray(got[name])
        if tolerance is None:
            if (other.dtype, other.shape) != (array.dtype, array.shape):
                return f"{name}: expected {array.dtype}{list(array.shape)}, got {other.dtype}{list(other.shape)}"
            continue
        difference = compare(name, array, other)
        if not difference.within(tolerance) and not difference.max_abs <= ABSOLUTE:
            return difference.explain()
    return None


def _line(exc: BaseException) -> str:
    """Return the message on one line, without the paths of reports."""
    text = getattr(exc, "what", None) or str(exc)
    return " ".join(text.split())[:400]


def _tensorflow_line(exc: BaseException) -> str:
    """Return the node and the message of an error of TensorFlow, without its stack of Python lines."""
    text = str(exc)
    node = re.search(r"Detected at node (\S+) defined at", text)
    message = text.split("\n\n")[-1].partition("\n\t [[")[0]
    return f"{type(exc).__name__}: {f'{node[1]}: ' if node else ''}{' '.join(message.split())[:300]}"
