"""A TorchScript method as TorchScript with a flat list of tensors as inputs, so that its loops and branches stay."""

from __future__ import annotations

from typing import Any

import torch

from bundler.errors import ExportError
from bundler.sources.binding import Binding, Slot


def flat_script(module: torch.jit.ScriptModule, binding: Binding, method: str) -> torch.jit.ScriptModule:
    """Return TorchScript whose `forward(input_0, input_1, …)` calls a method; other arguments keep their defaults.

    A wrapper compiled from source is needed because a trace would unroll the TorchScript that it calls, and torch's
    exporter expects a tensor for every parameter of `forward`, even for those with defaults.

    Raises:
        ExportError: an input is in a list or dict.
    """
    source = _source(binding, method)

    # A new class for each call: torch shares compiled code between objects of one class with equal attributes.
    class Wrapper(torch.jit.ScriptModule):
        def __init__(self) -> None:
            super().__init__()
            self.module = module
            self.define(source)

    wrapper: Any = Wrapper()
    # The exporter sees the tensors of a tuple only if the call that returns it is inlined.
    torch._C._jit_pass_inline(wrapper.forward.graph)
    scripted: torch.jit.ScriptModule = wrapper
    return scripted


def _source(binding: Binding, method: str) -> str:
    names = [f"input_{index}" for index in range(len(binding.names))]
    arguments = [_argument(value, names) for value in binding.args]
    arguments += [f"{name}={_argument(value, names)}" for name, value in binding.kwargs.items()]
    target = "self.module" if method == "forward" else f"self.module.{method}"
    return f"def forward(self, {', '.join(names)}):\n    return {target}({', '.join(arguments)})\n"


def _argument(value: object, names: list[str]) -> str:
    if isinstance(value, Slot):
        return names[value.index]
    if value is None or isinstance(value, (bool, int, float, str)):
        return repr(value)
    raise ExportError(
        f"An input of the TorchScript model is of type {type(value).__name__}.",
        fix="save a model whose forward takes each tensor as a separate parameter",
        code="TFB2005",
    )
