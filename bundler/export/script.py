"""A TorchScript method with a flat row of tensors in, as TorchScript, so that its loops and branches stay."""

from __future__ import annotations

from typing import Any

import torch

from bundler.errors import ExportError
from bundler.sources.binding import Binding, Slot


def flat_script(module: torch.jit.ScriptModule, binding: Binding, method: str) -> torch.jit.ScriptModule:
    """TorchScript whose `forward(input_0, input_1, …)` calls a method; other arguments keep their defaults.

    A trace that calls TorchScript would need it to be part of the trace, and torch's exporter wants every parameter
    of `forward` as a tensor, defaults too: hence a wrapper, compiled from source.

    Raises:
        ExportError: an input lies in a list or dict.
    """
    source = _source(binding, method)

    # A class for each call: torch shares compiled code between objects of one class with equal attributes.
    class Wrapper(torch.jit.ScriptModule):
        def __init__(self) -> None:
            super().__init__()
            self.module = module
            self.define(source)

    wrapper: Any = Wrapper()
    # The exporter sees the tensors of a tuple only when the call that makes it is inlined.
    torch._C._jit_pass_inline(wrapper.forward.graph)
    scripted: torch.jit.ScriptModule = wrapper
    return scripted


def _source(binding: Binding, method: str) -> str:
    names = [f"input_{index}" for index in range(len(binding.names))]
    given = [_argument(value, names) for value in binding.args]
    given += [f"{name}={_argument(value, names)}" for name, value in binding.kwargs.items()]
    target = "self.module" if method == "forward" else f"self.module.{method}"
    return f"def forward(self, {', '.join(names)}):\n    return {target}({', '.join(given)})\n"


def _argument(value: object, names: list[str]) -> str:
    if isinstance(value, Slot):
        return names[value.index]
    if value is None or isinstance(value, (bool, int, float, str)):
        return repr(value)
    raise ExportError(
        f"An input of the TorchScript model is of the type {type(value).__name__}.",
        fix="save a model whose forward takes each tensor as a parameter of its own",
    )
