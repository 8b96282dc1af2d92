"""Moves ONNX files together with the external data that belongs to them."""

from __future__ import annotations

from pathlib import Path

from bundler.graph.onnx_signature import load_graph, opset_of


def move_with_data(source: Path, target: Path) -> int:
    """Move an ONNX file to `target`, and its external data, which a model over 1.5 GB has, to `<target>.data`.

    Args:
        source: a file that the export wrote.
        target: its new path; the folder is made.

    Returns:
        The model's opset.

    Raises:
        ValueError: the weights are in more than one file.
    """
    import onnx

    model = load_graph(source)
    target.parent.mkdir(parents=True, exist_ok=True)
    entries = [
        entry
        for tensor in model.graph.initializer
        for entry in tensor.external_data
        if entry.key == "location"
    ]
    names = {entry.value for entry in entries}
    if len(names) > 1:
        raise ValueError(f"{source} has its weights in {len(names)} files; the export writes only one")
    if not names:
        source.replace(target)
        return opset_of(model)
    data = target.with_name(target.name + ".data")
    (source.parent / names.pop()).replace(data)
    for entry in entries:
        entry.value = data.name
    onnx.save(model, str(target))
    return opset_of(model)
