"""Metadata of a file as text, and damaged files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bundler.errors import VerifyError
from bundler.tflite.inspection import describe_metadata, read_contents


def test_metadata_is_described_line_by_line() -> None:
    options = {"NormalizationOptions": {"mean": [0.5], "std": [0.25, 0.5]}}
    x: dict[str, Any] = {"name": "x", "description": "float32 [1, 4]", "dimension_names": ["batch", "dim_1"]}
    x |= {"process_units": [{"options": options}]}
    y = {"name": "y", "associated_files": [{"name": "labels.txt"}]}
    graph = {"input_tensor_metadata": [x], "output_tensor_metadata": [y]}
    assert describe_metadata({"name": "net", "subgraph_metadata": [graph]}) == [
        "net: no description",
        "  in  x: float32 [1, 4]; dims batch, dim_1; NormalizationOptions: mean 0.5, std 0.25, 0.5",
        "  out y; labels labels.txt",
    ]


def test_file_that_is_not_tflite_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "no.tflite"
    path.write_bytes(b"not a model at all")
    with pytest.raises(VerifyError, match=r"no\.tflite cannot be read"):
        read_contents(path)
