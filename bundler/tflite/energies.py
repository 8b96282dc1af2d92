"""The energies of the inputs of fully connected layers: how often, and how strongly, two columns of the weights act together."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from bundler.tflite.blocks import Energy
from bundler.tflite.matrices import Matrix
from bundler.tflite.runner import as_taken
from bundler.values.arrays import Array
from bundler.values.converted import SERVING_DEFAULT

MOST_COLUMNS = 8_192
"""The columns of the widest layer that is measured; the work grows with their cube."""
_MEMORY = 1 << 30
"""Bytes of energies that one pass over the calls adds up."""


def energies(
    file: bytes, matrices: Sequence[Matrix], calls: Sequence[Mapping[str, Array]]
) -> Iterator[tuple[Matrix, Energy]]:
    """Yield matrices with the energy of what they are multiplied with.

    Matrices that the graph of serving_default does not use in fully connected layers are left out, as those that are too wide.

    Args:
        file: content of the float file.
        matrices: matrices of the file.
        calls: inputs of serving_default by name.
    """
    run = _Run(file)
    inputs = {matrix: run.inputs_of(matrix) for matrix in matrices if matrix.columns <= MOST_COLUMNS}
    for group in _groups({matrix: tensors for matrix, tensors in inputs.items() if tensors}):
        sums: dict[int, Energy] = {}
        for call in calls:
            run(call)
            for tensor in {tensor: None for tensors in group.values() for tensor in tensors}:
                values = run.value(tensor)
                sums[tensor] = _sum([*([sums[tensor]] if tensor in sums else []), Energy(values.T @ values, len(values))])
        for matrix, tensors in group.items():
            yield matrix, _sum([sums[tensor] for tensor in tensors])


def _sum(energies: Sequence[Energy]) -> Energy:
    return Energy(np.sum([each.products for each in energies], axis=0), sum(each.rows for each in energies))


def _groups(inputs: Mapping[Matrix, Sequence[int]]) -> Iterable[dict[Matrix, Sequence[int]]]:
    """Split the matrices so that the energies of each group fit the memory."""
    groups: list[dict[Matrix, Sequence[int]]] = [{}]
    size = 0
    for matrix, tensors in inputs.items():
        own = 4 * matrix.columns**2
        if size and size + own > _MEMORY:
            groups.append({})
            size = 0
        groups[-1][matrix] = tensors
        size += own
    return groups


class _Run:
    """Runs a file without delegates, which would not keep the tensors within their partitions."""

    def __init__(self, file: bytes) -> None:
        from ai_edge_litert import schema_py_generated as schema
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Warning: Enabling `experimental_preserve_all_tensors`")
            self._interpreter = Interpreter(
                model_content=file,
                experimental_preserve_all_tensors=True,
                experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            )
        self._runner = self._interpreter.get_signature_runner(SERVING_DEFAULT)
        self._number = self._runner._subgraph_index
        self._graph: Any = schema.Model.GetRootAs(bytearray(file), 0).Subgraphs(self._number)

    def inputs_of(self, matrix: Matrix) -> list[int]:
        """Return the tensors that a matrix is multiplied with in the graph of serving_default."""
        operators = [self._graph.Operators(number) for graph, number in matrix.products if graph == self._number]
        return [operator.Inputs(0) for operator in operators]

    def __call__(self, call: Mapping[str, Array]) -> None:
        details = self._runner.get_input_details()
        self._runner(**{name: as_taken(details[name], array) for name, array in call.items()})

    def value(self, tensor: int) -> Array:
        """Return a tensor's rows in the latest call."""
        array = np.asarray(self._interpreter.get_tensor(tensor, self._number))
        return array.reshape(-1, array.shape[-1])
