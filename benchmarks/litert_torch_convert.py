"""Run by the Python of litert-torch's own environment: `python litert_torch_convert.py MODEL.pt2 MODEL.npz MODEL.tflite`."""

from __future__ import annotations

import sys

import litert_torch
import numpy as np
import torch

source, example, target = sys.argv[1:]
module = torch.export.load(source).module()
with np.load(example) as data:
    inputs = {name: torch.from_numpy(array) for name, array in data.items()}
litert_torch.convert(module, sample_kwargs=inputs).export(target)
