"""Outcomes of the sweep that are not an answer that a witness gives too, each with its reason.

A witness may answer requests whose sizes contradict each other, or that the operator's page does not define; and it may refuse
requests that have an answer. A row names the operator, a part of the outcome's text and the reason; the full run asserts that
every row still applies.
"""

from __future__ import annotations

from dataclasses import dataclass

CONTRADICTION = (
    "the sizes of the inputs contradict each other by the operator's page; the reference does not check them"
)
WINDOW = (
    "the window is larger than the padded input; ONNX Runtime and PyTorch refuse that, the reference answers nothing"
)
HEADS = "the operator's expansion by ONNX divides by the number of heads, which is 0"
COPIED = "the operator's expansion by ONNX has a Reshape that copies a size where it computes 0"
EMPTY = (
    "an empty result, whose sizes follow from the operator's page; ONNX Runtime refuses the input, the reference fails"
)
PADS = "all that the window or border has is padding; the page gives the size, PyTorch refuses it"
NEUTRAL = "a reduction of nothing, which the page does not define; the result is that of TensorFlow's reduction"
SUM = "a sum over nothing is 0, so the result is the bias or the initial state; ONNX Runtime has no kernel for it"
NO_PIXELS = "an image without pixels cannot be sampled; ONNX Runtime refuses it, the reference reads nothing"
UNINITIALIZED = (
    "without a step the state is the initial one, zeros; ONNX Runtime returns memory that it has not written"
)
STATIC = "a size that is dynamic here has to be known at build time"


@dataclass(frozen=True)
class Row:
    """An explained outcome.

    Attributes:
        kind: refused, wrong, unwitnessed or not converted.
        operator: the operator of the case.
        part: a part of the error, difference or answer.
        reason: what is right by the operator's page, and why the outcome differs from it or from the witnesses.
        is_certain: whether every full run has this outcome.
    """

    kind: str
    operator: str
    part: str
    reason: str
    is_certain: bool = True


ROWS: tuple[Row, ...] = (
    Row("refused", "Compress", "is not in [0, 0)", CONTRADICTION),
    Row("refused", "NonMaxSuppression", "is not in [0, 0)", CONTRADICTION),
    Row("refused", "Conv", "requested shape has 0", WINDOW),
    Row("refused", "ai.onnx.preview::FlexAttention", "only integer div and mod", HEADS),
    Row("refused", "GatherND", "requested shape has", CONTRADICTION),
    Row("refused", "NonMaxSuppression", "requested shape has", CONTRADICTION),
    Row("refused", "ScatterND", "requested shape has", CONTRADICTION),
    Row("refused", "GridSample", "is not in [0, 0)", NO_PIXELS),
    Row("refused", "LinearAttention", "Incompatible shapes", COPIED),
    Row("refused", "LinearAttention", "requested shape has 0", COPIED),
    Row("refused", "NonMaxSuppression", "scores has incompatible shape", CONTRADICTION),
    Row("wrong", "LSTM", "Not equal", UNINITIALIZED, is_certain=False),
    Row("wrong", "Scan", "Not equal", UNINITIALIZED, is_certain=False),
    Row("refused", "MatMulInteger", "Incompatible shapes", CONTRADICTION),
    Row("refused", "QLinearMatMul", "Incompatible shapes", CONTRADICTION),
    Row("refused", "TensorScatter", "Incompatible shapes", CONTRADICTION),
    Row("refused", "MaxPool", "window that is larger than its input", WINDOW),
    Row("refused", "NegativeLogLikelihoodLoss", "should be equal to indices", CONTRADICTION),
    Row("refused", "NonMaxSuppression", "boxes must have 4 columns", CONTRADICTION),
    Row("refused", "QuantizeLinear", "Expected begin[1] == 0", CONTRADICTION),
    Row("refused", "ReverseSequence", "seq_len", CONTRADICTION),
    Row("refused", "RoiAlign", "slice index", CONTRADICTION),
    Row("refused", "Split", "Determined shape must either match", CONTRADICTION),
    Row("refused", "TopK", "at least k columns", "k is larger than the axis, and ONNX Runtime refuses it"),
    Row(
        "wrong",
        "DFT",
        "expected (",
        "a transform of no samples: numpy and PyTorch refuse it, ONNX Runtime says that it has one frequency",
    ),
    Row(
        "wrong",
        "DynamicQuantizeLinear",
        "Not equal",
        "the page's scale of nothing is (0 - 0) / 255; ONNX Runtime replaces it by 1",
    ),
    Row("wrong", "LinearAttention", "shape (", COPIED),
    Row(
        "wrong",
        "Scan",
        "shape (",
        "the body declares the size of its state, which 0 contradicts; ONNX Runtime returns that size",
    ),
    Row(
        "wrong",
        "StringNormalizer",
        "shape (",
        "the page allows [C] and [1, C]; for nothing it requires one empty string",
    ),
    Row("wrong", "TopK", "shape (", "k is larger than the axis, and ONNX Runtime refuses it"),
    Row(
        "wrong",
        "com.microsoft::QLinearAveragePool",
        "expected (0, 3,",
        "the page rounds (0 + 2 - 3) / 2 down, to an output of 0; ONNX Runtime's kernel of 8 bits rounds it to 0, to one of 1",
    ),
    Row("not converted", "Attention", "is supported only if their last size is fixed", STATIC),
    Row("not converted", "RotaryEmbedding", "is supported only if their last size is fixed", STATIC),
    Row(
        "not converted",
        "Attention",
        "unsupported operand",
        "the number of heads is dynamic here, and has to be known at build time",
    ),
    Row(
        "not converted",
        "CausalConvWithState",
        "Input mismatch when inlining",
        "the expansion of this function has optional inputs, which normalization leaves out of its call",
    ),
    Row("not converted", "Dropout", "in training mode", "a setting, not a size: Dropout in training mode is refused"),
    Row("unwitnessed", "STFT", "answers", EMPTY),
    Row("unwitnessed", "DFT", "answers", EMPTY),
    Row("unwitnessed", "Resize", "answers", EMPTY),
    Row("unwitnessed", "Col2Im", "answers", EMPTY),
    Row("unwitnessed", "GroupNormalization", "answers", EMPTY),
    Row("unwitnessed", "DequantizeLinear", "answers", EMPTY),
    Row("unwitnessed", "GlobalAveragePool", "answers", EMPTY),
    Row("unwitnessed", "Einsum", "answers", EMPTY),
    Row("unwitnessed", "AffineGrid", "answers", EMPTY),
    Row("unwitnessed", "Multinomial", "answers", EMPTY),
    Row("unwitnessed", "TfIdfVectorizer", "answers", EMPTY),
    Row("unwitnessed", "ai.onnx.ml::TreeEnsemble", "answers", EMPTY),
    Row("unwitnessed", "RotaryEmbedding", "answers", EMPTY),
    Row("unwitnessed", "ConvTranspose", "answers", EMPTY),
    Row("unwitnessed", "Conv", "answers", EMPTY),
    Row("unwitnessed", "com.microsoft::FusedConv", "answers", EMPTY),
    Row("unwitnessed", "com.microsoft::QAttention", "answers", EMPTY),
    Row("unwitnessed", "com.microsoft::QLinearConv", "answers", EMPTY),
    Row("unwitnessed", "QLinearMatMul", "answers", EMPTY),
    Row("unwitnessed", "TensorScatter", "answers", EMPTY),
    Row("unwitnessed", "LinearAttention", "answers", EMPTY),
    Row("unwitnessed", "SoftmaxCrossEntropyLoss", "answers", EMPTY),
    Row("unwitnessed", "AveragePool", "answers", WINDOW),
    Row("unwitnessed", "LpPool", "answers", WINDOW),
    Row("unwitnessed", "com.microsoft::QLinearAveragePool", "answers", WINDOW),
    Row("unwitnessed", "Pad", "answers", PADS),
    Row("unwitnessed", "MaxPool", "answers", PADS),
    Row("unwitnessed", "GlobalMaxPool", "answers", NEUTRAL),
    Row("unwitnessed", "GlobalLpPool", "answers", NEUTRAL),
    Row("unwitnessed", "com.microsoft::QLinearGlobalAveragePool", "answers", NEUTRAL),
    Row("unwitnessed", "ai.onnx.preview::FlexAttention", "answers", NEUTRAL),
    Row("unwitnessed", "MaxRoiPool", "answers", NEUTRAL),
    Row("unwitnessed", "com.microsoft::GroupQueryAttention", "answers", NEUTRAL),
    Row("unwitnessed", "GRU", "answers", SUM),
    Row("unwitnessed", "LSTM", "answers", SUM),
    Row("unwitnessed", "RNN", "answers", SUM),
    Row("unwitnessed", "GridSample", "answers", NO_PIXELS),
    Row("unwitnessed", "NonMaxSuppression", "answers", CONTRADICTION),
    Row("unwitnessed", "Scan", "answers", CONTRADICTION),
    Row("unwitnessed", "Gather", "answers", CONTRADICTION),
    Row("unwitnessed", "Scatter", "answers", CONTRADICTION),
    Row("unwitnessed", "ScatterND", "answers", CONTRADICTION),
    Row("unwitnessed", "MatMulInteger", "answers", CONTRADICTION),
    Row("unwitnessed", "ai.onnx.ml::ArrayFeatureExtractor", "answers", CONTRADICTION),
    Row("unwitnessed", "TopK", "answers", "the result is nothing: k is the size of an input of 0"),
)


def row_of(kind: str, operator: str, text: str) -> Row | None:
    """Return the row that explains an outcome."""
    return next((r for r in ROWS if (r.kind, r.operator) == (kind, operator) and r.part in text), None)


NOT_SWEPT: dict[str, str] = {
    "Constant": "it has no inputs",
    "MelWeightMatrix": "its inputs are settings",
    "RandomNormal": "it has no inputs",
    "RandomUniform": "it has no inputs",
    "tfbundle::FakeQuantize": "made by a pass from QuantizeLinear and DequantizeLinear, which are swept, and elementwise",
    "tfbundle::Linear": "made by a pass from MatMul with a constant matrix and Add; com.microsoft::Attention has it in the sweep",
    "tfbundle::MaskedSoftmax": "made by a pass from Softmax of masked scores; Softmax is swept",
}
"""Handlers that no case of the sweep is about."""
