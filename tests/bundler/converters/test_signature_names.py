"""Input names that TensorFlow's graph does not accept, in a SavedModel that is written and loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bundler.converters.signature_names import restore, tensor_names


def test_valid_names_are_kept_and_others_become_unique() -> None:
    assert tensor_names(["image", "x.1", "a/b-c"]) == {"image": "image", "x.1": "x.1", "a/b-c": "a/b-c"}
    assert tensor_names(["x:0", "x_0", "x 0"]) == {"x:0": "x_0", "x_0": "x_0_1", "x 0": "x_0_2"}
    assert tensor_names(["_x", "/a", "été"]) == {"_x": "x_x", "/a": "x/a", "été": "x_t_"}
    assert tensor_names(["in", "class", "a/"]) == {"in": "in_", "class": "class_", "a/": "a/_"}  # Python's keywords, too
    assert tensor_names(["a\\b", 'c "d"']) == {"a\\b": "a_b", 'c "d"': "c__d_"}  # TFLite's converter refuses a backslash


def write(folder: Path, names: list[str]) -> None:
    """Write a SavedModel with two signatures over the same inputs: x - y in the order of `names`, and y - x."""
    import tensorflow as tf

    specs = [tf.TensorSpec([None], tf.float32, name=name) for name in tensor_names(names).values()]

    def difference(x: Any, y: Any) -> dict[str, Any]:
        return {"out:0": x - y}

    def negated(x: Any, y: Any) -> dict[str, Any]:
        return {"out:0": y - x}

    signatures = {
        "serving_default": tf.function(difference).get_concrete_function(*specs),
        "negated": tf.function(negated).get_concrete_function(*specs),
    }
    tf.saved_model.save(tf.Module(), str(folder), signatures=signatures)


def test_signature_def_and_loaded_function_have_the_models_own_names(tmp_path: Path) -> None:
    import tensorflow as tf
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    names = ["b:0", "_a"]
    write(tmp_path, names)
    restore(tmp_path, {"serving_default": names, "negated": names})
    graph = SavedModel.FromString((tmp_path / "saved_model.pb").read_bytes()).meta_graphs[0]
    loaded = tf.saved_model.load(str(tmp_path))
    for signature, want in (("serving_default", [-9.0]), ("negated", [9.0])):
        inputs = graph.signature_def[signature].inputs
        assert set(inputs) == {"b:0", "_a"}
        assert inputs["b:0"].dtype == tf.float32.as_datatype_enum
        assert inputs["b:0"].name != inputs["_a"].name
        outputs = loaded.signatures[signature](**{"b:0": tf.constant([1.0]), "_a": tf.constant([10.0])})
        np.testing.assert_array_equal(outputs["out:0"], want)


def test_a_saved_model_with_plain_names_is_not_rewritten(tmp_path: Path) -> None:
    write(tmp_path, ["x", "y"])
    file = tmp_path / "saved_model.pb"
    before = file.stat()
    restore(tmp_path, {"serving_default": ["x", "y"], "negated": ["x", "y"]})
    assert file.stat() == before
