"""The same bytes for the same model: takes out of a SavedModel what depends on the process that wrote it.

1. TensorFlow names functions with numbers that count everything traced in the process (`__inference_function_713`), and writes
   them in the order of a hash table. They are numbered anew, from 0 for each name, in the order in which they were traced, and
   sorted so. The numbers in `_gradient_op_type` are numbered anew as well.
2. A table of a vocabulary is named after the path of its file while the model was built. It is named after the file's content,
   because two models in one server share the tables of one name.
3. fingerprint.pb has a random number, the checksum of saved_model.pb, and hashes that depend on the order of maps. It
   is made again, with hashes of the canonical form, and a number made of its other fields.
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
_NUMBER = re.compile(r"_?[0-9]+")
_CAPTURE = "_user_specified_name"
_GRADIENT = "_gradient_op_type"
_TABLE = b"hash_table_"
_UUID_BYTES, _HASH_BYTES = 16, 8
_HASHED = {
    "graph_def_program_hash": "graph_def", "signature_def_hash": "signature_def", "saved_object_graph_hash": "object_graph_def",
}  # fmt: skip
"""Fields of fingerprint.pb -> what they are hashes of. TensorFlow's own hash some maps in random order."""
_ARGUMENT = re.compile(r"(?P<base>while_(?:cond|body))_[0-9]+(?P<rest>___redundant_placeholder)")
"""Arguments of the functions of a loop, which are named after a function with its number."""


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
    _write_fingerprint(folder, model)


def _renumber(graph: Any) -> None:
    library = graph.graph_def.library
    names = _new_names([function.signature.name for function in library.function])
    for function in library.function:
        function.signature.name = names[function.signature.name]
        _rename_arguments(function)
        _rename_captures(function)
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


def _rename_arguments(function: Any) -> None:
    """Take the numbers of other functions out of the names of a function's arguments."""
    given = [argument.name for argument in function.signature.input_arg]
    wanted = {name: _ARGUMENT.sub(r"\g<base>\g<rest>", name) for name in given}
    if len(set(wanted.values())) < len(given):
        return
    for argument in function.signature.input_arg:
        argument.name = wanted[argument.name]
    for node in function.node_def:
        for place, source in enumerate(node.input):
            node.input[place] = wanted.get(source, source)
    for output, source in function.ret.items():
        function.ret[output] = wanted.get(source, source)


def _rename_captures(function: Any) -> None:
    """Number the captured variables, which TensorFlow names by the number of an object in the process, by their arguments."""
    for place, arguments in function.arg_attr.items():
        if _CAPTURE in arguments.attr and arguments.attr[_CAPTURE].s.isdigit():
            arguments.attr[_CAPTURE].s = str(place).encode()


def _new_names(names: Iterable[str]) -> dict[str, str]:
    """Return the new name of each function: its name without numbers, and its place among the functions of that name.

    Numbers grow with time, so the order of equally named functions is that in which they were traced.
    """
    found, counts = {}, dict[str, int]()
    for name in sorted(names, key=_place):
        base = _NUMBER.sub("", name)
        found[name] = f"{base}_{counts.setdefault(base, 0)}"
        counts[base] += 1
    return found


def _place(name: str) -> tuple[str, str, list[int]]:
    return _NUMBER.sub("", name), _NUMBER.sub("#", name), [int(number.lstrip("_")) for number in _NUMBER.findall(name)]


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
        if kind == "s" and (renamed := names.get(value.s.decode("utf-8", "replace"))) is not None:
            value.s = renamed.encode()
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


def _write_fingerprint(folder: Path, model: Any) -> None:
    path = folder / FINGERPRINT_FILE
    if not path.exists():  # a release of TensorFlow before 2.12
        return
    from tensorflow.core.protobuf import fingerprint_pb2
    from tensorflow.python.saved_model.pywrap_saved_model import fingerprinting

    made = fingerprint_pb2.FingerprintDef.FromString(fingerprinting.CreateFingerprintDef(str(folder)))
    for field, part in _HASHED.items():
        content = b"".join(_bytes(getattr(graph, part)) for graph in model.meta_graphs)
        setattr(made, field, int.from_bytes(hashlib.sha256(content).digest()[:_HASH_BYTES], "big"))
    if "uuid" in made.DESCRIPTOR.fields_by_name:
        made.uuid = ""
        content = made.SerializeToString(deterministic=True)
        made.uuid = str(int.from_bytes(hashlib.sha256(content).digest()[:_UUID_BYTES], "big"))
    path.write_bytes(made.SerializeToString(deterministic=True))


def _bytes(part: Any) -> bytes:
    """Return the bytes of a message, or of a map of messages in the order of its keys."""
    if hasattr(part, "SerializeToString"):
        return bytes(part.SerializeToString(deterministic=True))
    return b"".join(key.encode() + part[key].SerializeToString(deterministic=True) for key in sorted(part))
