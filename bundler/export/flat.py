"""A module with a flat row of tensors in and out, as ONNX has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from bundler.errors import ExportError
from bundler.export.offloaded import park
from bundler.export.substitutes import Substitutes
from bundler.sources.binding import Binding
from bundler.sources.outputs import name_outputs
from bundler.sources.tensors import to_numpy, to_torch
from bundler.sources.user_code import user_code
from bundler.values.arrays import Array

PREFIX = "module."
"""Stands before the names of all weights of the module that is wrapped."""


_OTHER_SIZES = "a dim that cannot take every size has to be fixed: give it a number with --input"


class FlatModule(nn.Module):
    """Calls a method of a module: `forward(*inputs)` gives a tuple of the tensors in its answer.

    `forward` is what exporters see, with functions that they have no form of written with others (`Substitutes`);
    `answer` is PyTorch's own.

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
        """The module stays in eval mode: exporters set the mode and put it back, which a .pt2 refuses."""
        del mode
        return self

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        attention = FourDimensionalAttention() if self.attention_4d else nullcontext()
        with Substitutes(), attention:
            return tuple(self.answer(tensors).values())

    def answer(self, tensors: Sequence[Tensor]) -> dict[str, Tensor]:
        """The outputs by name.

        Raises:
            ExportError: an output to keep is not there, or the answer holds something that is no tensor.
        """
        args, kwargs = self.binding.call(tensors)
        target = self.module if self.method == "forward" else getattr(self.module, self.method)
        named = name_outputs(target(*args, **kwargs))
        if self.keep is None:
            return named
        unknown = [name for name in self.keep if name not in named]
        if unknown:
            raise ExportError(
                f"The method {self.method} has no output {unknown[0]!r}.", fix=f"its outputs: {', '.join(named)}"
            )
        return {name: named[name] for name in self.keep}


class FourDimensionalAttention(TorchFunctionMode):
    """Gives 3-D scaled_dot_product_attention a heads axis of 1, and makes one batch of the leading axes of 5-D and higher
    (windows): torch's ONNX exporter takes 4-D only.

    (torch/onnx/_internal/exporter/_torchlib/ops/nn.py: "only 4D query, key, and value are supported".)
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
        if func is not torch.nn.functional.scaled_dot_product_attention:
            return func(*args, **given)
        call = dict(zip(("query", "key", "value", "attn_mask", "dropout_p", "is_causal"), args, strict=False))
        call.update(given)
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
    """Attention over more than one leading axis; a mask that these axes share (rank 3 at most) stays as it is."""
    mask = call.get("attn_mask")
    if mask is not None and mask.dim() > 3:
        return func(**call)
    leading = call["query"].shape[:-3]
    flat = {name: call[name].flatten(0, -4) for name in ("query", "key", "value")}
    return func(**{**call, **flat}).unflatten(0, leading)


class TorchReference:
    """PyTorch's own answers, in eval mode and without gradients: arrays by input name to arrays by output name."""

    def __init__(self, flat: FlatModule, names: Mapping[str, str]) -> None:
        self._flat = flat
        self._names = names

    def __call__(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run the model.

        Raises:
            SourceError: the model does not run on them; names their shapes and the user's line.
        """
        names = self._flat.binding.names
        given = ", ".join(f"{name}={inputs[name].dtype}{list(inputs[name].shape)}" for name in names)
        # Not inference_mode: what a module caches in it (position tables) could not be exported afterwards.
        with user_code(f"The model does not run on {given}", fix=_OTHER_SIZES), torch.no_grad():
            answer = self._flat.answer([to_torch(inputs[name]) for name in names])
        return {self._names[name]: to_numpy(tensor) for name, tensor in answer.items()}

    def park(self, folder: Path) -> None:
        """Leave the module's large weights in files: see `bundler.export.offloaded`. TorchScript keeps its memory."""
        if not isinstance(self._flat.module, torch.jit.ScriptModule):
            park(self._flat.module, folder)
