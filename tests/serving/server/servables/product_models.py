"""SavedModels with products of inputs, whose dims a request may set to 0."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2


class Products(tf.Module):
    """Signatures whose operands all come from the request."""

    @tf.function(
        input_signature=[tf.TensorSpec([None, None]), tf.TensorSpec([None, None]), tf.TensorSpec([None])],
        autograph=False,
    )
    def product(self, a: Any, b: Any, c: Any) -> Any:
        return {"y": tf.nn.relu(tf.nn.bias_add(tf.matmul(a, b), c))}

    @tf.function(
        input_signature=[tf.TensorSpec([None, None]), tf.TensorSpec([None, None]), tf.TensorSpec([], tf.int32)],
        autograph=False,
    )
    def sliced(self, a: Any, b: Any, k: Any) -> Any:
        return {"y": tf.nn.bias_add(tf.matmul(a[:, :k], b[:k]), tf.ones([4]))}

    @tf.function(input_signature=[tf.TensorSpec([None] * 4), tf.TensorSpec([None] * 4)], autograph=False)
    def convolution(self, x: Any, w: Any) -> Any:
        return {"y": tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(x, w, 1, "SAME"), tf.ones([4])))}


class Dense(tf.Module):
    """A dense layer with a variable as its weight, and one whose weight is the argument of a loop's body."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = tf.Variable(tf.ones([3, 3]))

    @tf.function(input_signature=[tf.TensorSpec([None, None])], autograph=False)
    def dense(self, x: Any) -> Any:
        return {"y": tf.nn.relu(tf.nn.bias_add(tf.matmul(x, self.weight), tf.ones([3])))}

    @tf.function(input_signature=[tf.TensorSpec([None, 3])], autograph=False)
    def loop(self, x: Any) -> Any:
        weight = tf.identity(self.weight)
        return {
            "y": tf.while_loop(lambda y: tf.reduce_sum(y) < 100.0, lambda y: (tf.matmul(y, weight) + 1.0,), (x,))[0]
        }


def save_products(folder: Path) -> None:
    model = Products()
    names = ("product", "sliced", "convolution")
    tf.saved_model.save(model, str(folder), signatures={name: getattr(model, name) for name in names})


class Guarded(tf.Module):
    """A product of inputs that the EnsureShape after it keeps apart from its bias, as tfbundle writes it."""

    @tf.function(
        input_signature=[tf.TensorSpec([None, None]), tf.TensorSpec([None, None]), tf.TensorSpec([None])],
        autograph=False,
    )
    def product(self, a: Any, b: Any, c: Any) -> Any:
        product = tf.raw_ops.EnsureShape(input=tf.matmul(a, b), shape=[None, None])
        return {"y": tf.nn.relu(tf.nn.bias_add(product, c))}


def graph_of(folder: Path) -> Any:
    """Return the GraphDef of a saved model."""
    return saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes()).meta_graphs[0].graph_def


def save_guarded(folder: Path) -> None:
    model = Guarded()
    tf.saved_model.save(model, str(folder), signatures={"product": model.product})


def save_dense(folder: Path) -> None:
    model = Dense()
    tf.saved_model.save(model, str(folder), signatures={"dense": model.dense, "loop": model.loop})


def save_fused(folder: Path) -> None:
    """Save a graph that already holds the fused op, as tools that store optimized graphs leave it."""
    graph = tf.Graph()
    with graph.as_default(), tf.compat.v1.Session(graph=graph) as session:
        a, b = (tf.compat.v1.placeholder(tf.float32, [None, None], name) for name in "ab")
        c = tf.constant([1.0, 2.0])
        node = tf.compat.v1.NodeDef(name="y", op="_FusedMatMul", input=["a", "b", "c"])
        node.attr["T"].type = tf.float32.as_datatype_enum
        node.attr["num_args"].i = 1
        node.attr["fused_ops"].list.s.append(b"BiasAdd")
        (y,) = tf.graph_util.import_graph_def(
            tf.compat.v1.GraphDef(node=[node]), {"a": a, "b": b, "c": c}, ["y:0"], name=""
        )
        signature = tf.compat.v1.saved_model.signature_def_utils.predict_signature_def({"a": a, "b": b}, {"y": y})
        builder = tf.compat.v1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(session, ["serve"], {"product": signature})
        builder.save()
