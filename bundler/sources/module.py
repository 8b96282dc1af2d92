"""Turns a module into a LoadedModel: finds example inputs and dims, and runs it once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bundler.errors import SourceError, UsageError
from bundler.sources import LoadedModel
from bundler.sources.batch import batch_dims
from bundler.sources.binding import Binding, bind_example, bind_specs, parameters
from bundler.sources.dynamic_shapes import to_specs
from bundler.sources.example_inputs import Range, integer_ranges, random_inputs
from bundler.sources.fixed_dims import of_module
from bundler.sources.tensors import dtype_name, to_numpy, to_torch
from bundler.sources.user_code import first_line, user_line
from bundler.values.fixed_dims import EXAMPLE, GIVEN
from bundler.values.signature import TensorSpec
from serving.texts import shell_command


def from_module(
    module: nn.Module,
    *,
    examples: Any = None,
    inputs: Sequence[TensorSpec] = (),
    ranges: Mapping[str, Range] | None = None,
    sizes_from: str = "",
    provenance: Mapping[str, Any] | None = None,
    dynamic_shapes: Any = None,
) -> LoadedModel:
    """Return a LoadedModel of a module, which is put into eval mode.

    Args:
        module: a torch module or TorchScript.
        examples: a tensor, a tuple of positional arguments or a dict by parameter name, nested or not.
        inputs: names, dtypes and dims of the inputs, as the user gives them (`--input`) or as the source knows them.
        ranges: smallest and largest value of integer inputs, as the source knows them.
        sizes_from: where the sizes in `inputs` come from, a clause; default: the user.
        provenance: where the model comes from; class and number of parameters are added.
        dynamic_shapes: the dynamic dims of `examples`, as torch.export.export takes them; None: see `inputs`.

    Raises:
        SourceError: there are neither example inputs nor dims, they do not fit `forward`, or the model fails on them.
        UsageError: the user's dims contradict the examples.
    """
    module.eval()
    params = parameters(module)
    facts: dict[str, Any] = {**(provenance or {}), **_describe(module)}
    specs = tuple(inputs)
    why = sizes_from or (GIVEN if specs else EXAMPLE)
    if examples is not None:
        binding, tensors = bind_example(params, examples)
        if dynamic_shapes is not None:
            why, specs = GIVEN, to_specs(params, binding, tensors, dynamic_shapes)
        if specs:
            specs = _checked_specs(binding, tensors, specs)
    elif specs:
        binding = bind_specs(params, specs)
        specs = _reorder(binding, specs)
        tensors = _drawn(specs, {**integer_ranges(module, binding, specs), **(ranges or {})})
    else:
        raise _no_examples(module, params)
    run_once(module, binding, tensors, specs)
    if not specs:
        specs, facts["dynamic_batch"] = batch_dims(module, binding, tensors)
    first_axis = facts.get("dynamic_batch", "").partition("fixed: ")[2]
    fixed = of_module(module, binding, tensors, specs, why=why, first_axis=first_axis)
    return LoadedModel(module, None, {name: to_numpy(tensor) for name, tensor in tensors.items()}, specs, facts, binding, fixed)


def _drawn(specs: Sequence[TensorSpec], ranges: Mapping[str, Range]) -> dict[str, Tensor]:
    return {name: to_torch(array) for name, array in random_inputs(specs, ranges).items()}


def run_once(module: nn.Module, binding: Binding, tensors: Mapping[str, Tensor], specs: Sequence[TensorSpec]) -> Any:
    """Run the model on its example inputs and return its answer.

    Args:
        module: the model.
        binding: how the inputs are passed to `forward`.
        tensors: the example inputs by name.
        specs: the inputs for the message; those of the tensors if empty.

    Raises:
        SourceError: the model fails; the message names the inputs and the line of the user's code.
    """
    args, kwargs = binding.call([tensors[name] for name in binding.names])
    try:
        with torch.no_grad():
            return module(*args, **kwargs)
    except Exception as exc:
        inputs = specs or [TensorSpec(n, dtype_name(t), tuple(t.shape)) for n, t in tensors.items()]
        raise SourceError(
            f"The model fails on the inputs {', '.join(map(str, inputs))}: {first_line(exc)}",
            where=user_line(exc),
            fix="check the names, dtypes and dims of the inputs against the parameters of forward",
            code="TFB2006",
        ) from exc


def _describe(module: nn.Module) -> dict[str, Any]:
    count = sum(p.numel() for p in module.parameters())
    name = getattr(module, "original_name", type(module).__name__)
    return {"class": name, "parameters": count, "torch": torch.__version__}


def _no_examples(module: nn.Module, params: Sequence[Any]) -> SourceError:
    names = [p.name for p in params if p.default is p.empty] or [p.name for p in params[:1]] or ["x"]
    return SourceError(
        f"{type(module).__name__} has no example inputs; its forward takes: "
        f"{', '.join(str(p) for p in params) or 'nothing'}.",
        fix=f"give each input with its dims, e.g. --input {shell_command(f'{names[0]}=float32[batch,3]')}, "
        "or return (module, example_inputs)",
        code="TFB2005",
    )


def _reorder(binding: Binding, specs: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
    by_name = {spec.name: spec for spec in specs}
    if len(by_name) != len(specs):
        raise UsageError("Two --input options have the same name.", fix="give each input once", code="TFB1202")
    return tuple(by_name[name] for name in binding.names)


def _checked_specs(
    binding: Binding, tensors: Mapping[str, Tensor], specs: Sequence[TensorSpec]
) -> tuple[TensorSpec, ...]:
    """Return the specs in the order of `forward`. Raise UsageError if one contradicts its example."""
    missing = [name for name in binding.names if name not in {spec.name for spec in specs}]
    unknown = [spec.name for spec in specs if spec.name not in binding.names]
    if missing or unknown:
        raise UsageError(
            f"--input names {', '.join(s.name for s in specs)}, but the model's inputs are {', '.join(binding.names)}.",
            fix="give one --input for each input of the model, or none",
            code="TFB1203",
        )
    sizes: dict[str, int] = {}
    for spec in specs:
        tensor = tensors[spec.name]
        example = TensorSpec(spec.name, dtype_name(tensor), tuple(tensor.shape))
        dims_fit = len(spec.dims) == len(example.dims) and all(
            size == (dim if isinstance(dim, int) else size if dim is None else sizes.setdefault(dim, int(size)))
            for dim, size in zip(spec.dims, tensor.shape, strict=True)
        )
        if spec.dtype != example.dtype or not dims_fit:
            raise UsageError(
                f"The input {spec} contradicts the model's example input, {example}.",
                fix="correct --input, or the example inputs that the callable returns",
                code="TFB1203",
            )
    return _reorder(binding, specs)
