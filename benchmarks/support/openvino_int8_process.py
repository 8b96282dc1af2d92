"""Quantizes with NNCF, in OpenVINO's own environment: `python openvino_int8_process.py MODEL.onnx CALIBRATION.npz MODEL.xml`."""

from __future__ import annotations

import sys


def main(source: str, calibration: str, target: str) -> None:
    import nncf
    import numpy as np
    import openvino

    model = openvino.Core().read_model(source)
    with np.load(calibration) as data:
        columns = dict(data)
    names = {each.get_any_name() for each in model.inputs}
    if names != columns.keys():
        raise ValueError(f"the model has the inputs {sorted(names)}, the calibration data {sorted(columns)}")
    rows = [{name: column[row : row + 1] for name, column in columns.items()} for row in range(len(next(iter(columns.values()))))]
    # The preset and the scheme for transformers are those that NNCF's documentation names for these models.
    kind = nncf.ModelType.TRANSFORMER if any(op.get_type_name() == "Softmax" for op in model.get_ops()[:-10]) else None
    preset = nncf.QuantizationPreset.MIXED
    quantized = nncf.quantize(model, nncf.Dataset(rows), preset=preset, model_type=kind, subset_size=len(rows))
    openvino.save_model(quantized, target, compress_to_fp16=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
