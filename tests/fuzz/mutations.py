"""Mutations that make a valid model invalid: one function each, which changes the model in place at random.

`damage` changes bytes of the file; the others leave it readable as protobuf, and change what it means.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto

from tests.fuzz.corpus import Seed

Change: TypeAlias = Callable[[ModelProto, random.Random], None]

HUGE = (2**40, 2**31, 2**31 - 1, 2**63 - 1, -(2**63), -1, -2, 0, 1, 7, 100_000)
"""Sizes at the limits of int32, int64 and memory, and some that are merely wrong."""

ELSEWHERE = (
    "../outside.bin", "/etc/passwd", "a/../../outside.bin", "link.bin", ".", "", "missing.bin", "weights.bin\0x", "/dev/zero",
)  # fmt: skip
"""Locations of external data that are not a file in the model's folder. `link.bin` is a symbolic link out of it."""

NAMES = ("", "x", "y", "\ud7ff", "a b", "/", "%s{}", "n" * 5000, "__proto__", "serving_default", "é\u0301", "^x", "x:0")

_DTYPES = tuple(TensorProto.DataType.values())


def mutate(seed: Seed, rng: random.Random) -> bytes:
    """Return a damaged copy of the seed's model."""
    if rng.random() < 0.25:
        return damage(seed.model, rng)
    model = onnx.load_model_from_string(seed.model)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        change = rng.choice(CHANGES)
        try:
            change(model, rng)
        except (ValueError, IndexError, TypeError, OverflowError):
            continue  # this model has nothing to change in this way, or protobuf rejects the value
    data = bytes(model.SerializeToString())
    return damage(data, rng) if rng.random() < 0.1 else data


def damage(data: bytes, rng: random.Random) -> bytes:
    """Flip, cut, repeat or insert bytes."""
    damaged = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        at = rng.randrange(len(damaged) or 1)
        length = rng.choice((1, 2, 8, 64))
        kind = rng.randrange(5)
        if kind == 0 and damaged:
            damaged[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del damaged[at : at + length]
        elif kind == 2:
            damaged[at:at] = damaged[at : at + length]
        elif kind == 3:
            damaged[at:at] = rng.randbytes(length)
        elif len(damaged) > 8:
            del damaged[at:]
    return bytes(damaged)


def graphs(model: ModelProto) -> Iterator[GraphProto]:
    """Yield the graph and all graphs in its attributes."""
    remaining = [model.graph]
    while remaining:
        graph = remaining.pop()
        yield graph
        remaining += [g for n in graph.node for a in n.attribute for g in (*([a.g] if a.HasField("g") else []), *a.graphs)]


def _graph(model: ModelProto, rng: random.Random) -> GraphProto:
    return rng.choice(list(graphs(model)))


def _node(model: ModelProto, rng: random.Random) -> NodeProto:
    return rng.choice([n for g in graphs(model) for n in g.node])


def _attribute(model: ModelProto, rng: random.Random) -> AttributeProto:
    return rng.choice([a for g in graphs(model) for n in g.node for a in n.attribute])


def _tensor(model: ModelProto, rng: random.Random) -> TensorProto:
    return rng.choice(_tensors(model))


def _tensors(model: ModelProto) -> list[TensorProto]:
    initializers = [t for g in graphs(model) for t in g.initializer]
    return initializers + [a.t for g in graphs(model) for n in g.node for a in n.attribute if a.HasField("t")]


def _names(graph: GraphProto) -> list[str]:
    outputs = [name for node in graph.node for name in node.output]
    return outputs + [v.name for v in graph.input] + [t.name for t in graph.initializer]


def drop_node(model: ModelProto, rng: random.Random) -> None:
    graph = _graph(model, rng)
    del graph.node[rng.randrange(len(graph.node))]


def repeat_node(model: ModelProto, rng: random.Random) -> None:
    _graph(model, rng).node.append(_node(model, rng))


def repeat_graph(model: ModelProto, rng: random.Random) -> None:
    """Repeat all lists of the graph, by merging the message into itself."""
    copy = GraphProto()
    copy.CopyFrom(model.graph)
    model.graph.MergeFrom(copy)


def shuffle_nodes(model: ModelProto, rng: random.Random) -> None:
    graph = _graph(model, rng)
    nodes = [NodeProto.FromString(n.SerializeToString()) for n in graph.node]
    rng.shuffle(nodes)
    del graph.node[:]
    graph.node.extend(nodes)


def rewire(model: ModelProto, rng: random.Random) -> None:
    """Use any value of the graph as an input: cycles, other types, values of later nodes."""
    graph = _graph(model, rng)
    node = rng.choice(list(graph.node))
    node.input[rng.randrange(len(node.input))] = rng.choice([*_names(graph), "nowhere", ""])


def rewire_output(model: ModelProto, rng: random.Random) -> None:
    graph = _graph(model, rng)
    rng.choice(list(graph.output)).name = rng.choice([*_names(graph), "nowhere", ""])


def drop_input(model: ModelProto, rng: random.Random) -> None:
    node = _node(model, rng)
    del node.input[rng.randrange(len(node.input))]


def add_input(model: ModelProto, rng: random.Random) -> None:
    _node(model, rng).input.append(rng.choice([*_names(model.graph), ""]))


def change_outputs(model: ModelProto, rng: random.Random) -> None:
    node = _node(model, rng)
    if rng.random() < 0.5:
        node.output.append(rng.choice((*NAMES, *node.output)))
    else:
        del node.output[rng.randrange(len(node.output))]


def rename(model: ModelProto, rng: random.Random) -> None:
    graph = _graph(model, rng)
    choice = rng.randrange(3)
    if choice == 0:
        _node(model, rng).name = rng.choice(NAMES)
    elif choice == 1:
        old, new = rng.choice(_names(graph)), rng.choice(NAMES)
        for named in (*graph.input, *graph.output, *graph.initializer):
            named.name = new if named.name == old else named.name
        for node in graph.node:
            node.input[:] = [new if n == old else n for n in node.input]
            node.output[:] = [new if n == old else n for n in node.output]
    else:
        rng.choice(list(graph.input)).name = rng.choice(NAMES)


def change_op(model: ModelProto, rng: random.Random) -> None:
    node = _node(model, rng)
    others = ("Add", "Conv", "Reshape", "Loop", "If", "Scan", "Constant", "Cast", "Resize", "LSTM", "NoSuch", "", "Shape")
    other = rng.choice(others)
    node.op_type = rng.choice((other, _node(model, rng).op_type))


def change_domain(model: ModelProto, rng: random.Random) -> None:
    _node(model, rng).domain = rng.choice(("", "ai.onnx", "com.microsoft", "ai.onnx.ml", "tfbundle", "own"))


def drop_attribute(model: ModelProto, rng: random.Random) -> None:
    node = rng.choice([n for g in graphs(model) for n in g.node if n.attribute])
    del node.attribute[rng.randrange(len(node.attribute))]


def change_attribute(model: ModelProto, rng: random.Random) -> None:
    attribute = _attribute(model, rng)
    attribute.i = rng.choice(HUGE)
    attribute.f = rng.choice((0.0, -1.0, 1e38, float("nan"), float("inf")))
    attribute.s = rng.choice((b"", b"SAME_UPPER", b"linear", b"\xff\xfe", b"x" * 1000))
    if attribute.ints:
        attribute.ints[rng.randrange(len(attribute.ints))] = rng.choice(HUGE)


def change_attribute_count(model: ModelProto, rng: random.Random) -> None:
    ints = rng.choice([a for g in graphs(model) for n in g.node for a in n.attribute if a.ints]).ints
    if rng.random() < 0.5:
        ints.append(rng.choice(HUGE))
    else:
        del ints[rng.randrange(len(ints))]


def change_attribute_type(model: ModelProto, rng: random.Random) -> None:
    """Change only the declared type; the value stays in the field of the original type."""
    _attribute(model, rng).type = rng.choice(AttributeProto.AttributeType.values())


def rename_attribute(model: ModelProto, rng: random.Random) -> None:
    _attribute(model, rng).name = rng.choice(("axis", "axes", "value", "to", "body", "nonsense", "", _attribute(model, rng).name))


def repeat_attribute(model: ModelProto, rng: random.Random) -> None:
    _node(model, rng).attribute.append(_attribute(model, rng))


def change_dims(model: ModelProto, rng: random.Random) -> None:
    tensor = _tensor(model, rng)
    if tensor.dims and rng.random() < 0.7:
        tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice(HUGE)
    else:
        tensor.dims.append(rng.choice(HUGE))


def change_dtype(model: ModelProto, rng: random.Random) -> None:
    _tensor(model, rng).data_type = rng.choice((*_DTYPES, 99, -1))


def change_data(model: ModelProto, rng: random.Random) -> None:
    """Change an integer of a tensor to a size that may not fit into memory."""
    integers = [t for t in _tensors(model) if t.data_type in (TensorProto.INT64, TensorProto.INT32)]
    tensor = rng.choice([t for t in integers if t.data_location != TensorProto.EXTERNAL])  # data elsewhere cannot be read here
    array = onnx.numpy_helper.to_array(tensor).reshape(-1).copy()
    array[rng.randrange(array.size)] = rng.choice(HUGE)
    tensor.ClearField("int64_data")
    tensor.ClearField("int32_data")
    tensor.raw_data = array.tobytes()


def cut_data(model: ModelProto, rng: random.Random) -> None:
    tensor = _tensor(model, rng)
    tensor.raw_data = tensor.raw_data[: rng.randrange(len(tensor.raw_data) + 1)] + bytes(rng.choice((0, 1, 3)))


def change_shape(model: ModelProto, rng: random.Random) -> None:
    graph = _graph(model, rng)
    shape = rng.choice([*graph.input, *graph.output, *graph.value_info]).type.tensor_type.shape
    if shape.dim and rng.random() < 0.6:
        shape.dim[rng.randrange(len(shape.dim))].dim_value = rng.choice(HUGE)
    elif rng.random() < 0.5:
        shape.dim.add().dim_param = rng.choice(("batch", "", "x+1", "a b"))
    elif shape.dim:
        del shape.dim[rng.randrange(len(shape.dim))]


def change_type(model: ModelProto, rng: random.Random) -> None:
    graph = _graph(model, rng)
    value = rng.choice([*graph.input, *graph.output, *graph.value_info])
    kind = rng.randrange(4)
    if kind == 0:
        value.type.sequence_type.elem_type.tensor_type.elem_type = rng.choice(_DTYPES)
    elif kind == 1:
        value.ClearField("type")
    elif kind == 2:
        value.type.tensor_type.ClearField("shape")
    else:
        value.type.tensor_type.elem_type = rng.choice((*_DTYPES, 99))


def initializer_to_input(model: ModelProto, rng: random.Random) -> None:
    """Turn a constant into an input, or make it both input and constant."""
    graph = _graph(model, rng)
    tensor = rng.choice(list(graph.initializer))
    info = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
    graph.input.append(info)
    if rng.random() < 0.6:
        graph.initializer.remove(tensor)


def repeat_initializer(model: ModelProto, rng: random.Random) -> None:
    tensor = TensorProto.FromString(_tensor(model, rng).SerializeToString())
    tensor.name = rng.choice([tensor.name, *_names(model.graph)])
    _graph(model, rng).initializer.append(tensor)


def repeat_output(model: ModelProto, rng: random.Random) -> None:
    graph = _graph(model, rng)
    if rng.random() < 0.5:
        graph.output.append(rng.choice([*graph.output, *graph.input]))
    else:
        del graph.output[rng.randrange(len(graph.output))]


def change_opset(model: ModelProto, rng: random.Random) -> None:
    kind = rng.randrange(3)
    if kind == 0:
        model.opset_import[0].version = rng.choice((0, 1, 6, 7, 8, 9, 10, 11, 13, 18, 21, 28, 99, -5, 2**40))
    elif kind == 1:
        del model.opset_import[:]
    else:
        model.opset_import.add(domain=rng.choice(("", "ai.onnx", "own")), version=rng.choice((1, 9, 17)))
    if rng.random() < 0.2:
        model.ir_version = rng.choice((0, 1, 3, 99, -1))


def to_external(model: ModelProto, rng: random.Random) -> None:
    """Declare that the data of a tensor is in another file."""
    tensor = _tensor(model, rng)
    del tensor.external_data[:]
    tensor.data_location = TensorProto.EXTERNAL
    entries = {"location": rng.choice(ELSEWHERE), "offset": str(rng.choice((0, -1, 2**40, 4, "x", "")))}
    entries["length"] = str(rng.choice((16, 0, -1, 2**40, "x")))
    for key, value in entries.items():
        if rng.random() < 0.8:
            tensor.external_data.add(key=key, value=value)
    if rng.random() < 0.5:
        tensor.ClearField("raw_data")


def change_external(model: ModelProto, rng: random.Random) -> None:
    entry = rng.choice([e for t in _tensors(model) for e in t.external_data])
    entry.value = rng.choice((*ELSEWHERE, "0", "-1", str(2**40), "3", "x", "weights.bin"))


def nest(model: ModelProto, rng: random.Random) -> None:
    """Nest branches within branches; protobuf's own limit is a depth of 100 messages."""
    body = GraphProto()
    body.CopyFrom(_graph(model, rng))
    del body.input[:]
    for _ in range(rng.choice((2, 8, 20))):
        outer = GraphProto(name="nested", output=body.output)
        condition = outer.initializer.add(name="always", data_type=TensorProto.BOOL)
        condition.int32_data.append(1)
        node = outer.node.add(op_type="If", input=["always"], output=[o.name for o in body.output])
        for name in ("then_branch", "else_branch"):
            node.attribute.add(name=name, type=AttributeProto.GRAPH).g.CopyFrom(body)
            if rng.random() < 0.9:
                break  # two branches double the size at every level
        body = outer
    node = model.graph.node.add()
    node.CopyFrom(body.node[0])
    node.input[0] = rng.choice(_names(model.graph))


def change_functions(model: ModelProto, rng: random.Random) -> None:
    """Add a function that calls itself, one with the name of an operator, or one without a body."""
    kind = rng.randrange(3)
    function = model.functions.add(name="f", domain="own", input=["a"], output=["b"])
    function.opset_import.add(domain="", version=17)
    function.opset_import.add(domain="own", version=1)
    if kind == 0:
        function.node.add(op_type="f", domain="own", input=["a"], output=["b"])
    elif kind == 1:
        function.domain, function.name = "", _node(model, rng).op_type
    node = _node(model, rng)
    if kind < 2:
        node.op_type, node.domain = function.name, function.domain


def sparse(model: ModelProto, rng: random.Random) -> None:
    tensor = _graph(model, rng).sparse_initializer.add(dims=[rng.choice(HUGE), rng.choice(HUGE)])
    tensor.values.CopyFrom(_tensor(model, rng))
    tensor.indices.CopyFrom(_tensor(model, rng))


def bad_text(model: ModelProto, rng: random.Random) -> None:
    """Add metadata as an attacker might write it: an unterminated stack trace, a repeated key."""
    node: Any = _node(model, rng)
    for _ in range(2):
        node.metadata_props.add(key="pkg.torch.onnx.stack_trace", value='File "' + "a" * rng.choice((1, 50_000)) + '", line ')


CHANGES: tuple[Change, ...] = (
    drop_node, repeat_node, repeat_graph, shuffle_nodes, rewire, rewire, rewire_output, drop_input, add_input, change_outputs,
    rename, change_op, change_domain, drop_attribute, change_attribute, change_attribute, change_attribute_count,
    change_attribute_type, rename_attribute, repeat_attribute, change_dims, change_dims, change_dtype, change_data, change_data,
    cut_data, change_shape, change_shape, change_type, initializer_to_input, repeat_initializer, repeat_output, change_opset,
    to_external, change_external, change_external, nest, change_functions, sparse, bad_text,
)  # fmt: skip
"""Mutations that found most defects are listed twice."""
