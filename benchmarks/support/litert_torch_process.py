"""Converts with litert-torch, in its own environment: `python litert_torch_process.py MODEL.pt2 MODEL.npz MODEL.tflite`."""

from __future__ import annotations

import sys


def main(source: str, example: str, target: str) -> None:
    import litert_torch
    import numpy as np
    import torch

    module = torch.export.load(source).module()
    with np.load(example) as data:
        inputs = {name: torch.from_numpy(array) for name, array in data.items()}
    litert_torch.convert(module, sample_kwargs=inputs).export(target)


if __name__ == "__main__":
    main(*sys.argv[1:])
