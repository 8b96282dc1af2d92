"""The same bytes for the same model: takes out of a SavedModel what depends on the process that wrote it.

1. TensorFlow names functions with a number that counts everything traced in the process (`__inference_function_713`), and writes
   them in the order of a hash table. They are numbered anew, from 0, in the order of their names and numbers, and sorted so. The
   numbers in `_gradient_op_type` are numbered anew as well.
2. A table of a vocabulary is named after the path of its file while the model was built. It is named after the file's content,
   because two models in one server share the tables of one name.
3. fingerprint.pb has a random number, and the sum of saved_model.pb. It is made again, with a number made of its other fields.
4. Maps are written in the order of their keys.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

GRAPH_FILE = "saved_model.pb"
FINGERPRINT_FILE = "fingerprint.pb"
_NUMBERED = re.compile(r"(?P<base>.*_)(?P<number>\d+)", re.DOTALL)
_GRADIENT = "_gradient_op_type"
_TABLE = b"hash_table_"
_UUID_BYTES = 16


def make_canonical(folder: Path) -> None:
    """Rewrite saved_model.pb and fingerprint.pb of a SavedModel.

    Raises:
        OSError: the folder cannot be written.
    """
    from tensorflow.core.protobuf import saved_model_pb2

    path = folder / GRAPH_FILE
    model = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    tables = _digest(sorted((folder / "assets").glob("*")))
    for graph in model.meta_graphs:
        _renumber(graph)
        _name_tables(graph, tables)
    path.write_bytes(model.SerializeToString(deterministic=True))
    _write_fingerprint(folder)


def _renumber(graph: Any) -> None:
    library = graph.graph_def.library
    names = _new_names([function.signature.name for function in library.function])
    for function in library.function:
        function.signature.name = names[function.signature.name]
    ordered = sorted(library.function, key=lambda function: _place(function.signature.name))
    copies = [type(function).FromString(function.SerializeToString()) for function in ordered]
    del library.function[:]
    library.function.extend(copies)
    for gradient in (*library.gradient, *library.registered_gradients):
        for field in ("function_name", "gradient_func"):
            if hasattr(gradient, field):
                setattr(gradient, field, names.get(getattr(gradient, field), getattr(gradient, field)))
    gradients: dict[bytes, bytes] = {}
    for node in _nodes(graph):
        node.op = names.get(node.op, node.op)
    for attributes in _attributes(graph):
        _rename_in(attributes, names, gradients)
    _rename_objects(graph.object_graph_def, names)


def _new_names(names: Iterable[str]) -> dict[str, str]:
    """Return the new name of each function: numbers from 0 for each base name, in the order of the old ones."""
    given = sorted(names, key=_place)
    found, counts = {}, dict[str, int]()
    for name in given:
        match = _NUMBERED.fullmatch(name)
        if match is None:
            found[name] = name
            continue
        base = match["base"]
        found[name] = f"{base}{counts.get(base, 0)}"
        counts[base] = counts.get(base, 0) + 1
    return found if len(set(found.values())) == len(found) else {name: name for name in given}


def _place(name: str) -> tuple[str, int]:
    match = _NUMBERED.fullmatch(name)
    return (match["base"], int(match["number"])) if match else (name, -1)


def _nodes(graph: Any) -> Iterator[Any]:
    yield from graph.graph_def.node
    for function in graph.graph_def.library.function:
        yield from function.node_def


def _attributes(graph: Any) -> Iterator[Any]:
    for node in _nodes(graph):
        yield node.attr
    for function in graph.graph_def.library.function:
        yield function.attr


def _rename_in(attributes: Any, names: dict[str, str], gradients: dict[bytes, bytes]) -> None:
    for key, value in attributes.items():
        kind = value.WhichOneof("value")
        functions = [value.func] if kind == "func" else value.list.func if kind == "list" else ()
        for function in functions:
            function.name = names.get(function.name, function.name)
            _rename_in(function.attr, names, gradients)
        if key == _GRADIENT:
            base, dash, _ = value.s.rpartition(b"-")
            value.s = gradients.setdefault(value.s, base + dash + str(len(gradients)).encode())


def _rename_objects(objects: Any, names: dict[str, str]) -> None:
    functions = objects.concrete_functions
    for old in [name for name in functions if name in names]:
        content = type(functions[old])()
        content.CopyFrom(functions[old])
        del functions[old]
        # Old and new names overlap, so new ones are marked until all old ones are gone.
        functions[f"\0{names[old]}"].CopyFrom(content)
    for marked in [name for name in functions if name.startswith("\0")]:
        functions[marked[1:]].CopyFrom(functions[marked])
        del functions[marked]
    for node in objects.nodes:
        kind = node.WhichOneof("kind")
        if kind == "function":
            for place, name in enumerate(node.function.concrete_functions):
                node.function.concrete_functions[place] = names.get(name, name)
        elif kind == "bare_concrete_function":
            bare = node.bare_concrete_function
            bare.concrete_function_name = names.get(bare.concrete_function_name, bare.concrete_function_name)


def _name_tables(graph: Any, digest: str) -> None:
    new: dict[bytes, bytes] = {}
    for attributes in _attributes(graph):
        if "shared_name" in attributes and attributes["shared_name"].s.startswith(_TABLE):
            name = attributes["shared_name"].s
            attributes["shared_name"].s = new.setdefault(name, _TABLE + f"{digest}_{len(new)}".encode())


def _digest(files: Iterable[Path]) -> str:
    return hashlib.sha256(b"".join(hashlib.sha256(file.read_bytes()).digest() for file in files)).hexdigest()


def _write_fingerprint(folder: Path) -> None:
    path = folder / FINGERPRINT_FILE
    if not path.exists():  # a release of TensorFlow before 2.12
        return
    from tensorflow.core.protobuf import fingerprint_pb2
    from tensorflow.python.saved_model.pywrap_saved_model import fingerprinting

    made = fingerprint_pb2.FingerprintDef.FromString(fingerprinting.CreateFingerprintDef(str(folder)))
    if "uuid" in made.DESCRIPTOR.fields_by_name:
        made.uuid = ""
        content = made.SerializeToString(deterministic=True)
        made.uuid = str(int.from_bytes(hashlib.sha256(content).digest()[:_UUID_BYTES], "big"))
    path.write_bytes(made.SerializeToString(deterministic=True))
