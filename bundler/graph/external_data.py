"""Moves ONNX files together with the external data that belongs to them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bundler.values.portable_paths import PortablePaths


def move_with_data(source: Path, target: Path, paths: PortablePaths) -> int:
    """Move an ONNX file to `target`, and its external data, which a model over 1.5 GB has, to `<target>.data`.

    The stack traces and descriptions in the graph keep file names and lines, and lose the folders of this machine.

    Args:
        source: a file that the export wrote.
        target: its new path; the folder is made.
        paths: how paths in the graph's texts are shortened.

    Returns:
        The model's opset.

    Raises:
        ValueError: the weights are in more than one file.
    """
    import onnx

    from bundler.graph.onnx_signature import load_graph, opset_of

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
    changed = _shorten_paths(model, paths)
    if not names:
        if changed:
            onnx.save(model, str(target))
            source.unlink()
        else:
            source.replace(target)
        return opset_of(model)
    data = target.with_name(target.name + ".data")
    (source.parent / names.pop()).replace(data)
    for entry in entries:
        entry.value = data.name
    onnx.save(model, str(target))
    return opset_of(model)


def size_with_data(path: Path) -> int:
    """Return the size of an ONNX file and of the external data of its outermost graph, in bytes."""
    from bundler.graph.onnx_signature import load_graph

    graph = load_graph(path).graph
    places = {e.value for tensor in graph.initializer for e in tensor.external_data if e.key == "location"}
    files = [path, *(path.parent / place for place in places)]
    return sum(file.stat().st_size for file in files if file.exists())


def _shorten_paths(model: Any, paths: PortablePaths) -> bool:
    """Shorten the paths in all descriptions and metadata of a model, in place. Return whether there were any."""
    changed = False
    for part in (model, *_described(model.graph), *(node for function in model.functions for node in (function, *function.node))):
        entries = [(entry, "value") for entry in getattr(part, "metadata_props", ())]
        for message, field in [(part, "doc_string"), *entries]:
            before = getattr(message, field)
            after = paths.text(before)
            if after != before:
                setattr(message, field, after)
                changed = True
    return changed


def _described(graph: Any) -> Iterator[Any]:
    """Yield a graph and its parts that can have a description or metadata, those of its subgraphs, too."""
    yield graph
    for part in (graph.initializer, graph.input, graph.output, graph.value_info):
        yield from part
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            yield attribute
            for subgraph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _described(subgraph)
