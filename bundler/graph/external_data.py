"""ONNX files that are moved together with the weights that lie beside them."""

from __future__ import annotations

from pathlib import Path

from bundler.graph.onnx_signature import load_graph, opset_of


def keep(source: Path, target: Path) -> int:
    """Move an ONNX file and its external data (over 1.5 GB it has some) to `target` and `<target>.data`.

    Returns:
        Its opset.
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
        raise ValueError(f"{source} has its weights in {len(names)} files; the export writes one")
    if not names:
        source.replace(target)
        return opset_of(model)
    data = target.with_name(target.name + ".data")
    (source.parent / names.pop()).replace(data)
    for entry in entries:
        entry.value = data.name
    onnx.save(model, str(target))
    return opset_of(model)
