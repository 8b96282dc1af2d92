"""Which graphs need their products unfused, as told from the shapes that a SavedModel records."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from serving.protocol.status import Code, StatusError
from serving.server.servables.saved_model import SavedModelServable, SessionOptions
from serving.server.servables.zero_sizes import has_fused_products, needs_unfused_products
from tests.serving.server.recordings import MODELS
from tests.serving.server.servables.product_models import graph_of, save_dense, save_fused, save_guarded, save_products


@pytest.mark.parametrize(
    ("save", "unfused", "fused"),
    [(save_products, True, False), (save_guarded, False, False), (save_dense, False, False), (save_fused, False, True)],
)
def test_only_weights_of_unknown_shape_count(
    save: Callable[[Path], None], unfused: bool, fused: bool, tmp_path: Path
) -> None:
    save(tmp_path)
    graph = graph_of(tmp_path)
    assert (needs_unfused_products(graph), has_fused_products(graph)) == (unfused, fused)


@pytest.mark.parametrize(("size", "unfused"), [(0, True), (-1, True), (3, False)])
def test_shape_of_a_variable_counts_where_nothing_else_is_recorded(size: int, unfused: bool, tmp_path: Path) -> None:
    save_dense(tmp_path)
    graph = graph_of(tmp_path)
    for function in graph.library.function:
        for node in function.node_def:
            del node.attr["_output_shapes"].list.shape[:]
    for node in graph.node:
        if node.op == "VarHandleOp":
            for dim in node.attr["shape"].shape.dim:
                dim.size = size
    assert needs_unfused_products(graph) == unfused


@pytest.mark.parametrize("name", ["rows", "clsreg", "types"])
def test_ordinary_models_stay_fused(name: str) -> None:
    assert not needs_unfused_products(graph_of(MODELS / name / "1"))


def test_saved_fused_product_refuses_arrays_without_elements(tmp_path: Path) -> None:
    save_fused(tmp_path)
    servable = SavedModelServable.load(str(tmp_path), SessionOptions())
    ones = {"a:0": np.ones((1, 3), np.float32), "b:0": np.ones((3, 2), np.float32)}
    assert servable.run(ones, ["y:0"])[0].tolist() == [[4.0, 5.0]]
    with pytest.raises(StatusError, match=r"Input a:0 of shape \[1, 0\] has no elements") as refused:
        servable.run({"a:0": np.ones((1, 0), np.float32), "b:0": np.ones((0, 2), np.float32)}, ["y:0"])
    assert refused.value.code is Code.INVALID_ARGUMENT
    servable.close()
