"""From a module and what is known of its inputs to a LoadedModel: example inputs, dims, and a first run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bundler.errors import SourceError, UsageError
from bundler.sources import LoadedModel
from bundler.sources.batch import batch_dims
from bundler.sources.binding import Binding, bind_example, bind_specs, parameters
from bundler.sources.example_inputs import Range, integer_ranges, random_inputs
from bundler.sources.tensors import dtype_name, to_numpy, to_torch
from bundler.sources.user_code import first_line, user_line
from bundler.values.signature import TensorSpec


def from_module(
    module: nn.Module,
    *,
    examples: Any = None,
    inputs: Sequence[TensorSpec] = (),
    defaults: Sequence[TensorSpec] = (),
    ranges: Mapping[str, Range] | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> LoadedModel:
    """Everything the export needs to know of a module. The module is put into eval mode.

    Args:
        module: a torch module or TorchScript.
        examples: a tensor, a tuple of positional arguments or a dict by parameter name, nested or not.
        inputs: what the user says of the inputs (`--input`): names, dtypes and dims, which are binding.
        defaults: what the source knows of the inputs, taken where the user says nothing.
        ranges: smallest and largest value of integer inputs, where the source knows them.
        provenance: where the model comes from; class and size are added.

    Raises:
        SourceError: there are no example inputs and no dims, they do not fit `forward`, or the model fails on them.
        UsageError: the user's dims contradict the examples.
    """
    module.eval()
    params = parameters(module)
    facts: dict[str, Any] = {**(provenance or {}), **_describe(module)}
    specs = tuple(inputs) or tuple(defaults)
    if examples is not None:
        binding, tensors = bind_example(params, examples)
        if specs:
            specs = _agree(binding, tensors, specs)
    elif specs:
        binding = bind_specs(params, specs)
        specs = _reorder(binding, specs)
        known = {**integer_ranges(module, binding, specs), **(ranges or {})}
        tensors = {name: to_torch(array) for name, array in random_inputs(specs, known).items()}
    else:
        raise _no_examples(module, params)
    run_once(module, binding, tensors, specs)
    if not specs:
        specs, facts["dynamic_batch"] = batch_dims(module, binding, tensors)
    arrays = {name: to_numpy(tensor) for name, tensor in tensors.items()}
    return LoadedModel(module, None, arrays, specs, facts, binding)


def run_once(module: nn.Module, binding: Binding, tensors: Mapping[str, Tensor], specs: Sequence[TensorSpec]) -> Any:
    """What the model answers on its example inputs.

    Raises:
        SourceError: it does not run on them; names the inputs and the user's line.
    """
    args, kwargs = binding.call([tensors[name] for name in binding.names])
    try:
        with torch.no_grad():
            return module(*args, **kwargs)
    except Exception as exc:
        given = specs or [TensorSpec(n, dtype_name(t), tuple(t.shape)) for n, t in tensors.items()]
        raise SourceError(
            f"The model does not run on {', '.join(map(str, given))}: {first_line(exc)}",
            where=user_line(exc),
            fix="check names, dtypes and dims of the inputs against what forward takes",
        ) from exc


def _describe(module: nn.Module) -> dict[str, Any]:
    count = sum(p.numel() for p in module.parameters())
    name = getattr(module, "original_name", type(module).__name__)
    return {"class": name, "parameters": count, "torch": torch.__version__}


def _no_examples(module: nn.Module, params: Sequence[Any]) -> SourceError:
    names = [p.name for p in params if p.default is p.empty] or [p.name for p in params[:1]] or ["x"]
    return SourceError(
        f"The example inputs of {type(module).__name__} are unknown; its forward takes: "
        f"{', '.join(str(p) for p in params) or 'nothing'}.",
        fix=f"add --input '{names[0]}=float32[batch,…]' for each, or return (module, example_inputs)",
    )


def _reorder(binding: Binding, specs: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
    by_name = {spec.name: spec for spec in specs}
    if len(by_name) != len(specs):
        raise UsageError("Two of the inputs given have the same name.", fix="give each --input once")
    return tuple(by_name[name] for name in binding.names)


def _agree(
    binding: Binding, tensors: Mapping[str, Tensor], specs: Sequence[TensorSpec]
) -> tuple[TensorSpec, ...]:
    """The specs in `forward`'s order, once each fits its example."""
    missing = [name for name in binding.names if name not in {spec.name for spec in specs}]
    unknown = [spec.name for spec in specs if spec.name not in binding.names]
    if missing or unknown:
        raise UsageError(
            f"The inputs given are {', '.join(s.name for s in specs)}; the model's are {', '.join(binding.names)}.",
            fix="give one --input for each of the model's inputs, or none",
        )
    sizes: dict[str, int] = {}
    for spec in specs:
        tensor = tensors[spec.name]
        own = TensorSpec(spec.name, dtype_name(tensor), tuple(tensor.shape))
        dims_fit = len(spec.dims) == len(own.dims) and all(
            size == (dim if isinstance(dim, int) else size if dim is None else sizes.setdefault(dim, int(size)))
            for dim, size in zip(spec.dims, tensor.shape, strict=True)
        )
        if spec.dtype != own.dtype or not dims_fit:
            raise UsageError(
                f"The input {spec} contradicts the model's own example, which is {own}.",
                fix="correct --input, or the example inputs that the callable returns",
            )
    return _reorder(binding, specs)
