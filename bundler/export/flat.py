"""A module with a flat list of tensors as inputs and outputs, as in ONNX, and the reference that runs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from bundler.errors import ExportError
from bundler.export.in_float32 import in_float32 as computing_in_float32
from bundler.export.in_float32 import widened
from bundler.export.offloaded import offload_weights
from bundler.export.substitutes import Substitutes
from bundler.sources.binding import Binding
from bundler.sources.outputs import name_outputs
from bundler.sources.tensors import to_numpy, to_torch
from bundler.sources.user_code import user_code
from bundler.values.arrays import Array

PREFIX = "module."
"""The prefix of the names of all weights of the wrapped module."""

_OTHER_SIZES = "if a dim cannot take every size, fix it: give it a number with --input"


class FlatModule(nn.Module):
    """A wrapper that calls a method of a module with tensors only, and returns tensors only.

    Exporters see `forward`, in which functions that they do not support are replaced (`Substitutes`). `answer` runs PyTorch
    unchanged.

    Args:
        module: the user's module, in eval mode.
        binding: how the inputs are passed.
        method: name of the method.
        keep: names of the outputs to keep, in this order; None: all, in the model's order.
        attention_4d: see `FourDimensionalAttention`.
    """

    def __init__(
        self,
        module: nn.Module,
        binding: Binding,
        *,
        method: str = "forward",
        keep: Sequence[str] | None = None,
        attention_4d: bool = False,
    ) -> None:
        super().__init__()
        self.module = module
        self.binding = binding
        self.method = method
        self.keep = keep
        self.attention_4d = attention_4d
        self.training = False

    def train(self, mode: bool = True) -> FlatModule:
        """Do nothing: the module stays in eval mode. Exporters set the mode and restore it, which a .pt2 refuses."""
        del mode
        return self

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs as a tuple, computed in a form that exporters support."""
        attention = FourDimensionalAttention() if self.attention_4d else nullcontext()
        with Substitutes(), attention:
            return tuple(self.answer(tensors).values())

    def answer(self, tensors: Sequence[Tensor]) -> dict[str, Tensor]:
        """Return the outputs by name.

        Raises:
            ExportError: an output to keep does not exist, or an output is not a tensor.
        """
        args, kwargs = self.binding.call(tensors)
        target = self.module if self.method == "forward" else getattr(self.module, self.method)
        named = name_outputs(target(*args, **kwargs))
        if self.keep is None:
            return named
        unknown = [name for name in self.keep if name not in named]
        if unknown:
            raise ExportError(
                f"The method {self.method} has no output {unknown[0]!r}.",
                fix=f"choose from its outputs: {', '.join(named)}",
                code="TFB1301",
            )
        return {name: named[name] for name in self.keep}


class FourDimensionalAttention(TorchFunctionMode):
    """A context in which scaled_dot_product_attention is always computed in 4-D, which is all that torch's ONNX exporter takes.

    3-D attention gets a heads axis of 1; the leading axes of 5-D and higher (windows) become one batch. Source:
    torch/onnx/_internal/exporter/_torchlib/ops/nn.py, "only 4D query, key, and value are supported".
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        keywords = dict(kwargs or {})
        if func is not torch.nn.functional.scaled_dot_product_attention:
            return func(*args, **keywords)
        call = dict(zip(("query", "key", "value", "attn_mask", "dropout_p", "is_causal"), args, strict=False))
        call.update(keywords)
        ranks = {call[name].dim() for name in ("query", "key", "value")}
        if len(ranks) == 1 and max(ranks) > 4:
            return _one_batch(func, call)
        if ranks != {3}:
            return func(**call)
        for name in ("query", "key", "value"):
            call[name] = call[name].unsqueeze(1)
        mask = call.get("attn_mask")
        if mask is not None and mask.dim() == 3:
            call["attn_mask"] = mask.unsqueeze(1)
        return func(**call).squeeze(1)


def _one_batch(func: Any, call: dict[str, Any]) -> Any:
    """Compute attention with several leading axes as one batch; a mask that these axes share (rank 3 at most) is unchanged."""
    mask = call.get("attn_mask")
    if mask is not None and mask.dim() > 3:
        return func(**call)
    leading = call["query"].shape[:-3]
    flat = {name: call[name].flatten(0, -4) for name in ("query", "key", "value")}
    return func(**{**call, **flat}).unflatten(0, leading)


class TorchReference:
    """The reference of a signature: PyTorch in eval mode without gradients.

    Args:
        flat: the module.
        names: the name in the signature of each output, by the model's own name.
    """

    def __init__(self, flat: FlatModule, names: Mapping[str, str]) -> None:
        self._flat = flat
        self._names = names

    def __call__(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run the model on arrays by input name, and return arrays by output name.

        Raises:
            SourceError: the model does not run on them; the message has their shapes and the user's line.
        """
        return self._run(inputs, in_float32=False)

    def _run(self, inputs: Mapping[str, Array], *, in_float32: bool) -> dict[str, Array]:
        names = self._flat.binding.names
        shapes = ", ".join(f"{name}={inputs[name].dtype}{list(inputs[name].shape)}" for name in names)
        # Not inference_mode: tensors that a module caches in it (position tables) could not be exported afterwards.
        with user_code(f"The model does not run on {shapes}", fix=_OTHER_SIZES), torch.no_grad():
            tensors = [to_torch(inputs[name]) for name in names]
            if not in_float32:
                answer = self._flat.answer(tensors)
            else:
                tensors = [widened(tensor) for tensor in tensors]
                with computing_in_float32(self._flat.module):
                    answer = self._flat.answer(tensors)
        return {self._names[name]: to_numpy(tensor) for name, tensor in answer.items()}

    def in_float32(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Return the outputs of the model computed in float32 (see `bundler.values.exported.InFloat32`).

        Raises:
            SourceError: the model depends on half precision, or fails in float32.
        """
        return self._run(inputs, in_float32=True)

    def offload_weights(self, folder: Path) -> None:
        """Move the module's large weights to files (see `bundler.export.offloaded`). TorchScript keeps its memory."""
        if not isinstance(self._flat.module, torch.jit.ScriptModule):
            offload_weights(self._flat.module, folder)
