"""What computes the reference answers of an .onnx file, which has no PyTorch model behind it.

`find_witness` takes the first of these that answers on the example inputs:

1. ONNX Runtime.
2. ONNX Runtime without its graph optimizations. A fusion or a fused kernel can reject what the ONNX operator allows.
3. onnx.reference, the executable form of ONNX's operator pages, in a process of its own: it has a kernel for every operator and
   type of ONNX, but computes in NumPy, so there are limits of size and time.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bundler.errors import ParityError
from bundler.graph.external_data import size_with_data
from bundler.graph.onnx_runtime import OnnxModel
from bundler.graph.reference_worker import ANSWER, CALL, ERROR, pack, unpack
from bundler.process.worker import how_it_ended, run_module
from bundler.values.arrays import Array
from bundler.values.exported import Referee

LARGEST_BYTES = 1 << 29
"""The largest file, with its external data, that onnx.reference runs."""

LONGEST_S = 300.0
"""The most seconds that one call of onnx.reference may take."""

ONNX_RUNTIME = "ONNX Runtime"
PLAIN_ONNX_RUNTIME = "ONNX Runtime without graph optimizations"
ONNX_REFERENCE = "onnx.reference"

Run = Callable[[Mapping[str, Array]], dict[str, Any]]
"""Arrays by input name to arrays by output name."""


class ReferenceModel:
    """An .onnx file in onnx.reference. Each call starts a process.

    Raises:
        ParityError: the file is larger than `LARGEST_BYTES`.
    """

    def __init__(self, path: Path, *, longest_s: float = LONGEST_S) -> None:
        size = size_with_data(path)
        if size > LARGEST_BYTES:
            raise ParityError(
                f"{ONNX_REFERENCE} runs files of up to {LARGEST_BYTES >> 20} MiB only, and this one has {size >> 20} MiB.",
                where=str(path),
                code="TFB3402",
            )
        self.path, self._longest_s = path, longest_s

    def __call__(self, inputs: Mapping[str, Array]) -> dict[str, Any]:
        """Run the model and return its outputs by name.

        Raises:
            ParityError: onnx.reference fails, or takes longer than the limit.
        """
        where = str(self.path)
        with tempfile.TemporaryDirectory(prefix="tfbundle-reference-") as name:
            folder, log = Path(name), Path(name, "log")
            pack(folder / CALL, inputs)
            try:
                status = run_module(
                    "bundler.graph.reference_worker", [str(self.path.resolve()), name], log, timeout_s=self._longest_s
                )
            except subprocess.TimeoutExpired:
                what = f"{ONNX_REFERENCE} did not answer within {self._longest_s:g} seconds."
                raise ParityError(what, where=where, code="TFB3402") from None
            if (folder / ERROR).exists():
                raise ParityError(
                    f"{ONNX_REFERENCE} failed: {(folder / ERROR).read_text('utf-8')}.", where=where, code="TFB3402"
                )
            if status:
                raise ParityError(f"{ONNX_REFERENCE} {how_it_ended(status, log)}", where=where, code="TFB3402")
            return dict(unpack(folder / ANSWER))


WITNESSES: dict[str, Callable[[Path], Run]] = {
    ONNX_RUNTIME: OnnxModel,
    PLAIN_ONNX_RUNTIME: lambda path: OnnxModel(path, optimize=False),
    ONNX_REFERENCE: ReferenceModel,
}
"""How each witness opens a file, the first to be asked first. Opening raises ParityError, and so does a call."""


@dataclass(frozen=True)
class Witness:
    """What computes the reference answers of an .onnx file: its name and rank, and the model as a function."""

    referee: Referee
    run: Run


def find_witness(path: Path, inputs: Mapping[str, Array]) -> tuple[Witness, dict[str, Any]]:
    """Return the first witness that runs the file on the inputs, and its outputs.

    Raises:
        ParityError: none does. It is the error of ONNX Runtime; its `fix` says why onnx.reference does not help.
    """
    errors: list[ParityError] = []
    for name, opened in WITNESSES.items():
        try:
            run = opened(path)
            outputs = run(inputs)
        except ParityError as exc:
            errors.append(exc)
        else:
            return Witness(Referee(name, errors[0].what if errors else None), run), outputs
    first, last = errors[0], errors[-1]
    raise type(first)(first.what, where=first.where, fix=last.what, code=first.code) from last
