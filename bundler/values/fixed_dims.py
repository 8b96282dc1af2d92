"""The dims of a model's inputs that have one size only, why, and what to write to free them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from typing import Any, TypeAlias

from bundler.values.signature import TensorSpec
from serving.texts import shell_command

_Fixed: TypeAlias = "tuple[tuple[int, ...], tuple[int, ...], str]"
"""Axes, their sizes, and the reason."""

GIVEN = "as given"
"""The reason for a size that the user wrote."""
EXAMPLE = "as in the example inputs"
NEEDED = "the model accepts no other size"


@dataclass(frozen=True)
class FixedDim:
    """One dim with a fixed size.

    Attributes:
        input: the input's name; `name in signature` for an input that only a further signature has.
        axis: the axis, from 0.
        size: its only size.
        why: the reason, a clause.
    """

    input: str
    axis: int
    size: int
    why: str


@dataclass(frozen=True)
class FixedDims:
    """The fixed dims of a model.

    Attributes:
        dims: all of them, in the order of the inputs and their axes.
        free: the inputs as the user can write them (`x=float32[batch,3,height,width]`), with a name for each dim that can vary;
            empty if none can.
        export: what to give torch's exporter in place of `free`, for a source that is an exported file.
    """

    dims: tuple[FixedDim, ...] = ()
    free: tuple[str, ...] = ()
    export: str = ""

    def with_signature(self, name: str, inputs: Sequence[TensorSpec]) -> FixedDims:
        """Add the fixed dims of a further signature with inputs of its own."""
        why = f"as signatures: {name}: inputs: says"
        dims = [
            FixedDim(f"{spec.name} in {name}", axis, size, why)
            for spec in inputs
            for axis, size in enumerate(spec.dims)
            if isinstance(size, int)
        ]
        return replace(self, dims=(*self.dims, *dims))

    def to_json(self) -> dict[str, Any]:
        """Return plain data for bundle.json."""
        return {"dims": [asdict(dim) for dim in self.dims], "free": list(self.free), "export": self.export}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> FixedDims:
        """Read what `to_json` returned."""
        return cls(tuple(FixedDim(**dim) for dim in data["dims"]), tuple(data["free"]), data["export"])

    def explained(self, *, in_file: bool = False) -> str:
        """Return the dims with their reasons and what to write, in one line.

        Args:
            in_file: whether the settings are in a bundle.yaml and not on the command line.
        """
        inputs: dict[_Fixed, list[str]] = {}
        for (name, why), dims in groupby(self.dims, key=lambda dim: (dim.input, dim.why)):
            axes, sizes = zip(*((dim.axis, dim.size) for dim in dims), strict=True)
            inputs.setdefault((axes, sizes, why), []).append(name)
        return f"{', '.join(_clause(names, *fixed) for fixed, names in inputs.items())}.{self._remedy(in_file)}"

    def _remedy(self, in_file: bool) -> str:
        ways = [self.export] if self.export else []
        if self.free and in_file:
            ways.append(f"inputs: [{', '.join(_yaml(text) for text in self.free)}]")
        elif self.free:
            ways.append(shell_command(*(word for text in self.free for word in ("--input", text))))
        return f" To let them vary: {' and '.join(ways)}" if ways else ""


def _clause(inputs: Sequence[str], axes: Sequence[int], sizes: Sequence[int], why: str) -> str:
    """Return `axes 2 and 3 of x are 8 and 8 (why)`."""
    one = len(axes) == 1
    return f"{'axis' if one else 'axes'} {_listed(axes)} of {_listed(inputs)} {'is' if one else 'are'} {_listed(sizes)} ({why})"


def _listed(items: Sequence[object]) -> str:
    *others, last = map(str, items)
    return f"{', '.join(others)} and {last}" if others else last


def _yaml(text: str) -> str:
    """Return a YAML scalar in single quotes."""
    quoted = text.replace("'", "''")
    return f"'{quoted}'"
