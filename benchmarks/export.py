"""torch's own export of one of the models, and nothing else: `python -m benchmarks.export MODEL FILE`.

Prints the seconds that `torch.onnx.export` itself took. Writes FILE and, beside it, an .npz with one example
image by input name. `--form legacy` takes the TorchScript exporter at opset 15, which is what onnx-tf reads;
`static` the same with the batch fixed to 1.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.models import load


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("file", type=Path)
    parser.add_argument("--form", choices=("dynamo", "legacy", "static"), default="dynamo")
    args = parser.parse_args()
    torch.set_num_threads(2)
    module, inputs = load(args.model)
    images = {name: value[:1] for name, value in inputs.items()}
    warnings.simplefilter("ignore")
    began = time.perf_counter()
    if args.form == "dynamo":
        _dynamo(module, inputs, args.file)
    elif args.form == "legacy":
        _torchscript(module, inputs, args.file, {name: {0: "batch"} for name in (*inputs, "output")})
    else:
        _torchscript(module, images, args.file, {})
    print(time.perf_counter() - began)
    np.savez(args.file.with_suffix(".npz"), **{name: value.numpy() for name, value in images.items()})


def _dynamo(module: Any, inputs: dict[str, Any], file: Path) -> None:
    batch = torch.export.Dim("batch")
    torch.onnx.export(
        module, tuple(inputs.values()), file, dynamo=True, input_names=list(inputs), verbose=False,
        dynamic_shapes=tuple({0: batch} for _ in inputs), external_data=False,
    )  # fmt: skip


def _torchscript(module: Any, inputs: dict[str, Any], file: Path, dynamic: dict[str, Any]) -> None:
    torch.onnx.export(
        module, tuple(inputs.values()), str(file), dynamo=False, opset_version=15, input_names=list(inputs),
        output_names=["output"], dynamic_axes=dynamic,
    )  # fmt: skip


if __name__ == "__main__":
    main()
