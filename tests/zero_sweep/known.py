"""Outcomes of the sweep that are not right answers, each with its reason.

A witness answers requests whose sizes contradict each other, or that the operator's page does not define. The rows are matched by
operator and by a part of the error or difference.
"""

from __future__ import annotations

_CONTRADICTION = "the sizes of the inputs contradict each other by the operator's page; the witness does not check them"
_WINDOW = "the window is larger than the padded input, and ONNX Runtime and PyTorch refuse that if there is a batch"
_EXPANSION = "ONNX's own expansion: its Reshape copies a size where it computes 0, and it divides by the number of heads"
_STATIC = "a size that is dynamic here has to be known at build time"

REFUSED: dict[str, tuple[tuple[str, str], ...]] = {
    "AveragePool": (("", _WINDOW),),
    "Compress": (("is not in [0, 0)", _CONTRADICTION),),
    "Conv": (("requested shape has 0", _WINDOW),),
    "FlexAttention": (("integer div and mod", _EXPANSION),),
    "GridSample": (("is not in [0, 0)", "an image without pixels cannot be sampled; ONNX Runtime refuses it"),),
    "LinearAttention": (("", _EXPANSION),),
    "LpPool": (("", _WINDOW),),
    "MatMulInteger": (("Incompatible shapes", _CONTRADICTION),),
    "MaxPool": (("window that is larger than its input", _WINDOW),),
    "NegativeLogLikelihoodLoss": (("should be equal to indices", _CONTRADICTION),),
    "NonMaxSuppression": (("", _CONTRADICTION),),
    "QLinearMatMul": (("", _CONTRADICTION),),
    "QuantizeLinear": (("", _CONTRADICTION),),
    "ReverseSequence": (("seq_len", _CONTRADICTION),),
    "RoiAlign": (("slice index", _CONTRADICTION),),
    "Split": (("", _CONTRADICTION),),
    "TensorScatter": (("Incompatible shapes", _CONTRADICTION),),
    "TopK": (("at least k columns", "k is larger than the axis, and ONNX Runtime refuses it"),),
}
"""Errors by operator: a part of the message, and the reason."""

DIFFERENT: dict[str, tuple[tuple[str, str], ...]] = {
    "DynamicQuantizeLinear": (("", "the page's scale of nothing is (0 - 0) / 255; ONNX Runtime replaces it by 1"),),
    "LinearAttention": (("shape", _EXPANSION),),
    "Scan": (("shape", "the body declares the size of its state, which 0 contradicts; ONNX Runtime returns that size"),),
    "StringNormalizer": (("shape", "the page allows [C] and [1, C]; for nothing it requires one empty string"),),
    "TopK": (("shape", "k is larger than the axis, and ONNX Runtime refuses it"),),
}
"""Differences by operator: a part of the message, and the reason."""

NOT_CONVERTED: dict[str, str] = {
    "AffineGrid": _STATIC,
    "Attention": _STATIC,
    "CausalConvWithState": "the expansion of this function has optional inputs, which normalization leaves out of its call",
    "Conv": "auto_pad SAME_LOWER with a stride needs the spatial sizes",
    "ConvTranspose": _STATIC,
    "DeformConv": _STATIC,
    "GatherND": _STATIC,
    "RotaryEmbedding": _STATIC,
    "ScatterND": _STATIC,
}
"""Operators with a case that is not converted."""


def explained(kind: str, operator: str, text: str) -> bool:
    """Return whether an outcome is listed."""
    if kind == "not converted":
        return operator in NOT_CONVERTED
    rows = {"refused": REFUSED, "wrong": DIFFERENT}.get(kind, {}).get(operator, ())
    return any(part in text for part, _ in rows)
