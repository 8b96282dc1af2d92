"""The converted model: a tf.Module with one traced function per signature over shared variables."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx_ir as ir
import tensorflow as tf

from bundler.adapters.adapter import InputAdapter
from bundler.adapters.derive import DerivedSignature
from bundler.converters.image_pixels import normalized
from bundler.converters.input_guards import guarded
from bundler.converters.native import ranks
from bundler.converters.native.context import Target
from bundler.converters.native.dims import dividing_in_int32
from bundler.converters.native.lowering import Lowering
from bundler.converters.native.orders import channels_last
from bundler.converters.native.registry import HandlerTable, builtin
from bundler.converters.native.report import check_supported
from bundler.converters.native.tensors import transposing_at_most
from bundler.converters.native.value import Value
from bundler.converters.native.weights import WeightStore
from bundler.converters.signature_names import restore, set_methods, tensor_names
from bundler.errors import ConversionError, TfbundleError
from bundler.graph.fold_pixels import fold_pixels
from bundler.graph.load import root_cause
from bundler.graph.onnx_signature import graph_signature
from bundler.spec.bundle_spec import SignatureLayout
from bundler.values.arrays import Array
from bundler.values.converted import SERVING_DEFAULT, signatures_html, signatures_text
from bundler.values.image_form import ImageForm
from bundler.values.signature import Signature, TensorSpec, check_names


class NativeModel(tf.Module):  # type: ignore[misc]
    """An ONNX model as TensorFlow functions.

    Args:
        graphs: one normalised model per signature, `serving_default` first.
        layout: `nhwc` takes image inputs (floating point, 4 axes, one to four channels known) with their channels last.
        handlers: the handlers that lower the nodes; default: the built-in ones.

    Attributes:
        signatures: the served signatures by name.
        permutations: for each input that is served in another order, the axes that bring PyTorch's array into it.
    """

    def __init__(
        self, graphs: Mapping[str, ir.Model], *, layout: SignatureLayout = "keep", handlers: HandlerTable | None = None
    ) -> None:
        super().__init__()
        self._handlers = handlers or builtin()
        self._graphs = dict(graphs)
        self._store = WeightStore()
        for model in self._graphs.values():
            check_supported(model.graph, model.opset_imports.get("", 1), self._handlers)
        declared = {name: graph_signature(model.graph) for name, model in self._graphs.items()}
        for signature in declared.values():
            check_names(signature)
        self.permutations = image_inputs(declared.values()) if layout == "nhwc" else {}
        self.signatures: Mapping[str, Signature] = {n: self._served(s) for n, s in declared.items()}
        self._functions = {name: self._trace(name) for name in self._graphs}
        self._variables = list(self._store.variables)
        self._methods: dict[str, str] = {}
        self._input_adapters: tuple[InputAdapter, ...] = ()

    @property
    def signature(self) -> Signature:
        """The signature of serving_default."""
        return self.signatures[SERVING_DEFAULT]

    def __repr__(self) -> str:
        return signatures_text(self)

    def _repr_html_(self) -> str:
        return signatures_html(self)

    def __call__(self, /, **inputs: Any) -> dict[str, Any]:
        """Run serving_default on arrays or tensors by input name; return tensors by output name."""
        return self.run(SERVING_DEFAULT, inputs)

    def run(self, signature: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Run a signature on arrays or tensors by input name; return tensors by output name."""
        specs = self.signatures[signature].inputs
        outputs: dict[str, Any] = self._functions[signature](
            *(tf.convert_to_tensor(inputs[s.name], tf.as_dtype(s.dtype)) for s in specs)
        )
        return outputs

    def derive(self, signatures: Sequence[DerivedSignature]) -> None:
        """Add derived signatures (`bundler.adapters`), which share the model's variables.

        Raises:
            ConversionError: TensorFlow cannot trace a signature.
        """
        for derived in signatures:
            self.signatures = {**self.signatures, derived.name: derived.signature}
            self._functions[derived.name] = self._trace_derived(derived)
            self._methods[derived.name] = derived.method
            self._input_adapters += derived.input_adapters

    def save(self, path: Path) -> None:
        """Write a SavedModel into the folder `path`, with all signatures over the same variables.

        Raises:
            ConversionError: TensorFlow cannot tell the names of the inputs or outputs apart.
            OSError, tf.errors.OpError: the folder cannot be written.
        """
        root = tf.Module()
        root.weights = self._variables
        root.edges = [adapter.resources for adapter in self._input_adapters]  # tables and their files
        try:
            tf.saved_model.save(root, str(path), signatures=dict(self._functions))
        except ValueError as exc:
            raise ConversionError(
                f"TensorFlow cannot save the model's signatures: {root_cause(exc)}.",
                fix="rename the model's inputs",
                code="TFB3006",
            ) from exc
        restore(path, {name: signature.input_names for name, signature in self.signatures.items()})
        set_methods(path, self._methods)

    def static(self, shapes: Mapping[str, tuple[int | None, ...]]) -> Any:
        """Lower serving_default anew for TFLite with these input shapes and return it as a ConcreteFunction.

        Args:
            shapes: the inputs' shapes in served order, by name. A size of None leaves a dynamic dim as it is.

        Raises:
            ConversionError: an input has no shape here, or a shape that contradicts its signature.
        """
        return self._static(shapes, None)

    def static_image(self, shapes: Mapping[str, tuple[int | None, ...]], image: ImageForm) -> Any:
        """Lower serving_default as `static` does, with an image input in another form, which its shape has, too."""
        return self._static(shapes, image)

    def _static(self, shapes: Mapping[str, tuple[int | None, ...]], image: ImageForm | None) -> Any:
        specs = []
        for spec in self._inputs(image):
            if spec.name not in shapes:
                raise ConversionError(f"The input {spec.name!r} has no static shape.", code="TFB3006")
            shape = tuple(shapes[spec.name])
            if not tf.TensorShape(spec.shape).is_compatible_with(shape):
                raise ConversionError(
                    f"The input {spec.name!r} is {spec}; it cannot take the shape {list(shape)}.", code="TFB3006"
                )
            dims = tuple(dim if size is None else size for dim, size in zip(spec.dims, shape, strict=True))
            specs.append(TensorSpec(spec.name, spec.dtype, dims))
        return self._trace(SERVING_DEFAULT, specs, target="tflite", image=image)

    def _inputs(self, image: ImageForm | None) -> list[TensorSpec]:
        """Return the served inputs, with an image input in the form."""
        own = {spec.name: spec for spec in graph_signature(self._graphs[SERVING_DEFAULT].graph).inputs}
        return [
            TensorSpec(spec.name, spec.dtype, image.dims(own[spec.name].dims)) if image and image.name == spec.name else spec
            for spec in self.signature.inputs
        ]

    def _served(self, signature: Signature) -> Signature:
        inputs = tuple(
            TensorSpec(s.name, s.dtype, tuple(s.dims[a] for a in self.permutations.get(s.name, range(len(s.dims)))))
            for s in signature.inputs
        )
        return Signature(inputs, signature.outputs)

    def _trace(
        self, name: str, specs: list[TensorSpec] | None = None, target: Target = "serving", image: ImageForm | None = None
    ) -> Any:
        inputs = specs if specs is not None else list(self.signatures[name].inputs)
        model, left = fold_pixels(self._graphs[name], image) if image else (self._graphs[name], None)
        outputs = [s.name for s in self.signatures[name].outputs]

        def function(*tensors: tf.Tensor) -> dict[str, tf.Tensor]:
            opset = model.opset_imports.get("", 1)
            lowering = Lowering(model.graph, self._store, opset=opset, target=target, handlers=self._handlers)
            checked = guarded(tensors, inputs) if target == "serving" else tensors  # TFLite has no operator that checks a shape
            values = {s.name: self._input(s.name, tensor, left) for s, tensor in zip(inputs, checked, strict=True)}
            with transposing_at_most(ranks.TRANSPOSED_AXES[target]), dividing_in_int32(target == "tflite"):
                results = lowering.run(values)
                return {o: tf.identity(v.tensor) for o, v in zip(outputs, results, strict=True)}

        return self._traced(name, inputs, function)

    def _traced(self, name: str, inputs: Sequence[TensorSpec], function: Callable[..., Any]) -> Any:
        names = tensor_names(s.name for s in inputs)
        try:
            arguments = [tf.TensorSpec(s.shape, tf.as_dtype(s.dtype), name=names[s.name]) for s in inputs]
            return tf.function(function, autograph=False).get_concrete_function(*arguments)
        except TfbundleError:
            raise
        except Exception as exc:  # errors of handlers name the node; these are inputs and outputs that TensorFlow cannot take
            raise ConversionError(
                f"The signature {name!r} ({', '.join(map(str, inputs))}) cannot be traced: {root_cause(exc)}.",
                fix="the limit is tfbundle's or TensorFlow's: give the model other input dims, or report them with this message",
                code="TFB3006",
            ) from exc

    def _trace_derived(self, derived: DerivedSignature) -> Any:
        base = self.signatures[derived.base]
        inputs = derived.signature.inputs

        def function(*tensors: tf.Tensor) -> dict[str, tf.Tensor]:
            checked = guarded(tensors, inputs) if derived.input_adapters else tensors  # otherwise, the base checks them
            base_inputs = derived.to_base_inputs({s.name: tensor for s, tensor in zip(inputs, checked, strict=True)})
            outputs = self._functions[derived.base](*(base_inputs[s.name] for s in base.inputs))
            return {name: tf.identity(tensor) for name, tensor in derived.from_base_outputs(outputs).items()}

        return self._traced(derived.name, inputs, function)

    def _input(self, name: str, tensor: tf.Tensor, image: ImageForm | None) -> Value:
        if image and image.name == name:
            return Value.of(normalized(tensor, image), self._store, image.order, name)
        return Value.of(tensor, self._store, self.permutations.get(name), name)


def image_inputs(signatures: Any) -> dict[str, tuple[int, ...]]:
    """Return the inputs that the layout `nhwc` takes channels last, each with the axes that bring it into that order."""
    return {
        s.name: channels_last(4)
        for signature in signatures
        for s in signature.inputs
        if len(s.dims) == 4
        and s.dtype.startswith(("float", "bfloat"))
        and isinstance(s.dims[1], int)
        and s.dims[1] <= 4
    }


def run_eagerly(
    model: ir.Model, inputs: Mapping[str, Array], handlers: HandlerTable | None = None
) -> Iterator[tuple[str, ir.Node, Array]]:
    """Run a normalised model eagerly, node by node.

    Yields:
        Each intermediate value as (name, node, array in ONNX's axis order), in the order of the graph.
    """
    store = WeightStore(constants_only=True)
    observed: list[tuple[str, ir.Node, Value]] = []

    def observe(node: ir.Node, results: Any) -> None:
        observed.extend((o.name or "", node, v) for o, v in zip(node.outputs, results, strict=False) if v is not None)

    opset = model.opset_imports.get("", 1)
    lowering = Lowering(model.graph, store, opset=opset, observe=observe, handlers=handlers)
    lowering.run({name: Value.of(tf.convert_to_tensor(array), store, name=name) for name, array in inputs.items()})
    for name, node, value in observed:
        yield name, node, value.array if value.array is not None else value.tensor.numpy()
