"""Builds derived signatures: combines adapters, adds them to the converted model, and computes their reference outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from bundler.adapters.adapter import AdapterCall, InputAdapter, OutputAdapter
from bundler.adapters.labels import read_labels
from bundler.errors import UsageError
from bundler.spec.signature_spec import ExamplesSpec, SignatureSpec
from bundler.values.arrays import Array
from bundler.values.reference import Case, ReferenceOutputs, to_served
from bundler.values.signature import Signature

if TYPE_CHECKING:
    from bundler.spec.bundle_spec import ModelSpec
    from bundler.values.converted import ConvertedModel

PREDICT = "tensorflow/serving/predict"


@dataclass(frozen=True)
class DerivedSignature:
    """A signature that wraps a base signature in adapters.

    Attributes:
        name: name of the derived signature.
        base: name of the base signature.
        signature: inputs and outputs of the derived signature.
        input_adapters: the outermost first.
        output_adapter: None if the outputs are those of the base signature.
    """

    name: str
    base: str
    signature: Signature
    input_adapters: tuple[InputAdapter, ...]
    output_adapter: OutputAdapter | None = None

    @property
    def method(self) -> str:
        """Method name in the SignatureDef. Classify and Regress take only tf.Examples; other inputs need Predict."""
        takes_examples = self.signature.input_names == ("inputs",)
        return self.output_adapter.method if self.output_adapter and takes_examples else PREDICT

    def to_base_inputs(self, tensors: Mapping[str, Any]) -> dict[str, Any]:
        """Convert inputs of this signature into inputs of the base signature, in TensorFlow."""
        inputs = dict(tensors)
        for adapter in self.input_adapters:
            inputs = adapter(inputs)
        return inputs

    def from_base_outputs(self, outputs: Mapping[str, Any]) -> dict[str, Any]:
        """Convert outputs of the base signature into outputs of this signature, in TensorFlow."""
        return self.output_adapter(outputs) if self.output_adapter else dict(outputs)


@runtime_checkable
class Derivable(Protocol):
    """A converted model to which derived signatures can be added."""

    def derive(self, signatures: Sequence[DerivedSignature]) -> None:
        """Add the signatures to those that are saved, sharing the model's variables."""


def check_request(model: ModelSpec, base: Path) -> None:
    """Check the derived signatures of a model's spec before any work is done.

    Args:
        model: the model's spec.
        base: folder that relative paths of the spec start from.

    Raises:
        UsageError: labels or a tokenizer cannot be read, or a `classify` section has no labels.
        MissingExtraError: a library that the parity check needs is not installed.
    """
    if model.labels is not None:
        read_labels(model.labels, base)
    for name, spec in model.derived.items():
        if spec.classify:
            _labels(name, model, spec, base)
        if spec.image:
            from bundler.adapters import image

            image.check_request()
        if spec.text:
            from bundler.adapters.tokenizer_file import read_tokenizer

            read_tokenizer(spec.text, base)


def derive(
    model: ModelSpec,
    references: Sequence[ReferenceOutputs],
    converted: ConvertedModel,
    base: Path,
    *,
    margin: float = 1e-5,
) -> tuple[ReferenceOutputs, ...]:
    """Add the spec's derived signatures to the converted model.

    Args:
        model: the model's spec.
        references: PyTorch's outputs for the base signatures.
        converted: the converted model, which gains the signatures.
        base: folder that relative paths of the spec start from.
        margin: the relative change that a score may have before its row is left out of parity (see `OutputAdapter`).

    Returns:
        PyTorch's outputs for each derived signature.

    Raises:
        UsageError: an adapter does not fit the model, or the converter does not support derived signatures.
        ParityError: the graph of an adapter differs from its reference implementation.
    """
    if not model.derived:
        return ()
    if not isinstance(converted, Derivable):
        raise UsageError(
            f"The converter {model.converter} cannot build the signatures {', '.join(model.derived)}.",
            fix="omit --converter, or use --converter native",
            code="TFB1206",
        )
    signatures = [_signature(name, spec, model, converted, base) for name, spec in model.derived.items()]
    converted.derive(signatures)
    base_references = {reference.exported.name: reference for reference in references}
    return tuple(_reference(derived, base_references[derived.base], converted, margin) for derived in signatures)


def _signature(
    name: str, spec: SignatureSpec, model: ModelSpec, converted: ConvertedModel, base: Path
) -> DerivedSignature:
    base_signature = converted.signatures[spec.of]
    input_adapters = _input_adapters(name, spec, model, base_signature, base)
    output_adapter = _output_adapter(name, spec, model, base_signature, base)
    inputs = input_adapters[-1].inputs if input_adapters else base_signature.inputs
    outputs = output_adapter.outputs if output_adapter else base_signature.outputs
    return DerivedSignature(
        name, spec.of, Signature(inputs, outputs), tuple(reversed(input_adapters)), output_adapter
    )


def _input_adapters(
    name: str, spec: SignatureSpec, model: ModelSpec, signature: Signature, base: Path
) -> list[InputAdapter]:
    """Return the input adapters, the innermost first."""
    from bundler.adapters.examples import ExamplesAdapter

    adapters: list[InputAdapter] = []
    if spec.image:
        from bundler.adapters.image import ImageAdapter

        adapters.append(ImageAdapter(name, signature.inputs, spec.image, spec.image.preprocess or model.tflite.images))
    if spec.text:
        from bundler.adapters.text import TextAdapter

        adapters.append(TextAdapter(name, signature.inputs, spec.text, base))
    if spec.mask:
        from bundler.adapters.mask import MaskAdapter

        adapters.append(MaskAdapter(name, signature.inputs, spec.mask))
    if spec.examples or not adapters:  # without image, text or mask, classify and regress read tf.Examples
        base_inputs = adapters[-1].inputs if adapters else signature.inputs
        adapters.append(ExamplesAdapter(name, base_inputs, spec.examples or ExamplesSpec()))
    return adapters


def _output_adapter(
    name: str, spec: SignatureSpec, model: ModelSpec, signature: Signature, base: Path
) -> OutputAdapter | None:
    from bundler.adapters.answers import ClassifyAdapter, RegressAdapter

    if spec.classify:
        return ClassifyAdapter(name, signature.outputs, spec.classify, _labels(name, model, spec, base))
    if spec.regress:
        return RegressAdapter(name, signature.outputs, spec.regress)
    return None


def _labels(name: str, model: ModelSpec, spec: SignatureSpec, base: Path) -> tuple[str, ...]:
    assert spec.classify is not None
    labels = model.labels if spec.classify.labels is None else spec.classify.labels
    if labels is None:
        raise UsageError(
            f"The signature {name!r} returns classes, but the model has no labels.",
            fix="give labels, a list or a file with one per line, e.g. labels: labels.txt",
            code="TFB1303",
        )
    return read_labels(labels, base)


def _reference(
    derived: DerivedSignature, base: ReferenceOutputs, converted: ConvertedModel, margin: float
) -> ReferenceOutputs:
    """Build the derived signature's calls from the base signature's, and run PyTorch on what reaches the model."""
    calls = []
    for case in base.cases:
        served = to_served(case.inputs, converted.permutations)
        calls.append(AdapterCall(case.name, served, served))
    for adapter in reversed(derived.input_adapters):
        calls = adapter.calls(calls)
    cases = [derived_case for call in calls if (derived_case := _case(derived, call, base, converted, margin))]
    if not cases:
        raise UsageError(
            f"PyTorch's best scores for the example inputs of the signature {derived.name!r} are too close to rank.",
            fix="give example inputs that the model classifies with more confidence, or omit top_k",
            code="TFB1204",
        )
    exported = replace(base.exported, name=derived.name, signature=derived.signature, examples=dict(cases[0].inputs))
    return ReferenceOutputs(exported, tuple(cases), served=True)


def _case(
    derived: DerivedSignature, call: AdapterCall, base: ReferenceOutputs, converted: ConvertedModel, margin: float
) -> Case | None:
    """Return the call with PyTorch's outputs, restricted to the rows that parity can compare; None if there are none."""
    outputs = base.exported.reference(_in_pytorch_order(call.base_inputs, converted.permutations))
    if derived.output_adapter is None:
        return Case(call.name, dict(call.inputs), outputs)
    rows = derived.output_adapter.stable_rows(outputs, margin)
    if not rows.any():
        return None
    inputs = call.inputs if rows.all() else {name: array[rows] for name, array in call.inputs.items()}
    answers = derived.output_adapter.reference(outputs)
    return Case(call.name, dict(inputs), {name: array[rows] for name, array in answers.items()})


def _in_pytorch_order(arrays: Mapping[str, Array], permutations: Mapping[str, Sequence[int]]) -> dict[str, Array]:
    return {
        name: np.ascontiguousarray(np.transpose(array, np.argsort(permutations[name]))) if name in permutations else array
        for name, array in arrays.items()
    }
