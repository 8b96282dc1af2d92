"""The two versions of a comparison."""

from __future__ import annotations

from serving.client.model_info import ModelInfo, SignatureInfo, TensorInfo
from serving.shadow.sides import Side, signature_changes

FLOAT = TensorInfo("float32", (None, 4))


def info(version: int, **signatures: SignatureInfo) -> ModelInfo:
    return ModelInfo("m", version, signatures)


def signature(inputs: dict[str, TensorInfo], outputs: dict[str, TensorInfo]) -> SignatureInfo:
    return SignatureInfo(inputs, outputs, "tensorflow/serving/predict")


def test_side_is_shown_as_it_was_named() -> None:
    assert (str(Side(3)), str(Side(label="canary"))) == ("version 3", "canary")


def test_changes_of_signatures_are_told_one_by_one() -> None:
    first = info(1, serve=signature({"x": FLOAT}, {"y": FLOAT}), old=signature({}, {}))
    second = info(2, serve=signature({"x": TensorInfo("float16", (None, 4))}, {"z": FLOAT}))
    assert signature_changes(first, second) == [
        "Only version 1 has the signature 'old'.",
        "Signature 'serve', input 'x': float32[?,4] in version 1, float16[?,4] in version 2.",
        "Signature 'serve', output 'y': float32[?,4] in version 1, absent in version 2.",
        "Signature 'serve', output 'z': absent in version 1, float32[?,4] in version 2.",
    ]
    assert signature_changes(second, first)[0] == "Only version 1 has the signature 'old'."


def test_equal_signatures_have_no_changes() -> None:
    both = signature({"x": FLOAT}, {"y": FLOAT})
    assert signature_changes(info(1, serve=both), info(2, serve=both)) == []
