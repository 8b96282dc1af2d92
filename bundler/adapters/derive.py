"""Puts edges around signatures, adds them to the converted model, and says what PyTorch answers through them."""

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
from bundler.values.signature import Signature

if TYPE_CHECKING:
    from bundler.spec.bundle_spec import ModelSpec
    from bundler.values.converted import ConvertedModel
    from bundler.values.reference import Case, ReferenceOutputs


PREDICT = "tensorflow/serving/predict"


@dataclass(frozen=True)
class DerivedSignature:
    """A signature made of another one.

    Attributes:
        of: the signature behind.
        steps: input edges, the outermost first.
        head: the output edge; None: the outputs as they are.
    """

    name: str
    of: str
    signature: Signature
    steps: tuple[InputAdapter, ...]
    head: OutputAdapter | None = None

    @property
    def method(self) -> str:
        """Method name in the SignatureDef: Classify and Regress read tf.Examples, Predict everything."""
        takes_examples = self.signature.input_names == ("inputs",)
        return self.head.method if self.head and takes_examples else PREDICT

    def before(self, tensors: Mapping[str, Any]) -> dict[str, Any]:
        """Inputs of this signature -> inputs of the one behind, in TensorFlow."""
        made = dict(tensors)
        for step in self.steps:
            made = step(made)
        return made

    def after(self, outputs: Mapping[str, Any]) -> dict[str, Any]:
        """Outputs of the signature behind -> outputs of this one, in TensorFlow."""
        return self.head(outputs) if self.head else dict(outputs)


@runtime_checkable
class Derivable(Protocol):
    """A converted model that takes signatures made of its own."""

    def derive(self, signatures: Sequence[DerivedSignature]) -> None:
        """Add them to what is saved, over the same variables."""


def check_request(model: ModelSpec, base: Path) -> None:
    """Find what cannot be built before any work is done.

    Raises:
        UsageError: labels or a tokenizer cannot be read, or classify has no labels.
        MissingExtraError: a library that the proof needs is not installed.
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
    model: ModelSpec, references: Sequence[ReferenceOutputs], converted: ConvertedModel, base: Path
) -> tuple[ReferenceOutputs, ...]:
    """Add the spec's derived signatures to the converted model.

    Args:
        references: PyTorch's answers to the signatures behind.
        base: folder that relative paths of the spec start from.

    Returns:
        PyTorch's answers through each of them.

    Raises:
        UsageError: an edge does not fit the model, or the converter takes none.
        ParityError: an edge's graph does not make what it has to.
    """
    if not model.derived:
        return ()
    if not isinstance(converted, Derivable):
        raise UsageError(
            f"The converter {model.converter} cannot build the signatures {', '.join(model.derived)}.",
            fix="leave --converter out, or take --converter native",
        )
    made = [_signature(name, spec, model, converted, base) for name, spec in model.derived.items()]
    converted.derive(made)
    behind = {reference.exported.name: reference for reference in references}
    return tuple(_reference(one, behind[one.of], converted, model.tolerance) for one in made)


def _signature(
    name: str, spec: SignatureSpec, model: ModelSpec, converted: ConvertedModel, base: Path
) -> DerivedSignature:
    signature = converted.signatures[spec.of]
    inward = _input_edges(name, spec, model, signature, base)
    head = _head(name, spec, model, signature, base)
    inputs = inward[-1].inputs if inward else signature.inputs
    return DerivedSignature(
        name, spec.of, Signature(inputs, head.outputs if head else signature.outputs), tuple(reversed(inward)), head
    )


def _input_edges(
    name: str, spec: SignatureSpec, model: ModelSpec, signature: Signature, base: Path
) -> list[InputAdapter]:
    """From the model outwards."""
    from bundler.adapters.examples import ExamplesAdapter

    edges: list[InputAdapter] = []
    if spec.image:
        from bundler.adapters.image import ImageAdapter

        edges.append(ImageAdapter(name, signature.inputs, spec.image, spec.image.preprocess or model.tflite.images))
    if spec.text:
        from bundler.adapters.text import TextAdapter

        edges.append(TextAdapter(name, signature.inputs, spec.text, base))
    if spec.examples or not edges:  # classify and regress alone read tf.Examples
        behind = edges[-1].inputs if edges else signature.inputs
        edges.append(ExamplesAdapter(name, behind, spec.examples or ExamplesSpec()))
    return edges


def _head(name: str, spec: SignatureSpec, model: ModelSpec, signature: Signature, base: Path) -> OutputAdapter | None:
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
            f"The signature {name!r} is to answer classes, and nothing names them.",
            fix="give labels, a list or a file with one a line, e.g. labels: labels.txt",
        )
    return read_labels(labels, base)


def _reference(one: DerivedSignature, behind: ReferenceOutputs, converted: ConvertedModel, tolerance: float) -> ReferenceOutputs:
    """Calls from the model outwards; PyTorch answers what has to reach it."""
    from bundler.values.reference import ReferenceOutputs, to_served

    calls = []
    for case in behind.cases:
        served = to_served(case.inputs, converted.permutations)
        calls.append(AdapterCall(case.name, served, served))
    for step in reversed(one.steps):
        calls = step.calls(calls)
    cases = [found for call in calls if (found := _case(one, call, behind, converted, tolerance))]
    if not cases:
        raise UsageError(
            f"The signature {one.name!r}: PyTorch's best scores for the example inputs are too near to be told apart.",
            fix="give example inputs that the model is surer of, or leave top_k out",
        )
    exported = replace(behind.exported, name=one.name, signature=one.signature, examples=dict(cases[0].inputs))
    return ReferenceOutputs(exported, tuple(cases), served=True)


def _case(
    one: DerivedSignature, call: AdapterCall, behind: ReferenceOutputs, converted: ConvertedModel, tolerance: float
) -> Case | None:
    """What PyTorch answers to a call, in the rows in which it is decided."""
    from bundler.values.reference import Case

    answer = behind.exported.reference(_in_pytorchs_order(call.behind, converted.permutations))
    if one.head is None:
        return Case(call.name, dict(call.given), answer)
    kept = one.head.decided(answer, tolerance)
    if not kept.any():
        return None
    given = call.given if kept.all() else {name: array[kept] for name, array in call.given.items()}
    return Case(call.name, dict(given), {name: array[kept] for name, array in one.head.reference(answer).items()})


def _in_pytorchs_order(arrays: Mapping[str, Array], permutations: Mapping[str, Sequence[int]]) -> dict[str, Array]:
    return {
        name: np.ascontiguousarray(np.transpose(array, np.argsort(permutations[name]))) if name in permutations else array
        for name, array in arrays.items()
    }
