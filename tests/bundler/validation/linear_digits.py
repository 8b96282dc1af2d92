"""A linear classifier of scikit-learn's handwritten digits as ONNX, in a good, a worse and a better version."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

LABELLED = '''
import numpy as np
from sklearn.datasets import load_digits

def labelled():
    data = load_digits()
    for image, digit in zip(data.data[1300:], data.target[1300:]):
        yield {"pixels": (image / 16).astype(np.float32)}, int(digit)
'''
"""An evaluate function that yields the 497 images that the classifiers are not trained on."""


@cache
def weights(images: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return weights float32 [64, 10] and biases float32 [10] of a ridge regression on the first images."""
    from sklearn.datasets import load_digits
    from sklearn.linear_model import RidgeClassifier

    data = load_digits()
    model = RidgeClassifier(alpha=1.0).fit(data.data[:images] / 16, data.target[:images])
    return model.coef_.T.astype(np.float32), model.intercept_.astype(np.float32)


def write(path: Path, images: int, *, noise: float = 0.0, pixels: str = "pixels") -> Path:
    """Write the classifier: `pixels` float32 [batch, 64] in 0..1 -> `scores` float32 [batch, 10].

    Args:
        path: the file.
        images: number of images that it is trained on; at most 1300, so that the others are labelled data.
        noise: standard deviation of noise on its weights.
        pixels: name of its input.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    matrix, bias = weights(images)
    matrix = matrix + np.random.default_rng(0).normal(scale=noise, size=matrix.shape).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Gemm", [pixels, "w", "b"], ["scores"])],
        "digits",
        [helper.make_tensor_value_info(pixels, TensorProto.FLOAT, ["batch", 64])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 10])],
        [numpy_helper.from_array(matrix, "w"), numpy_helper.from_array(bias, "b")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), str(path))
    return path
