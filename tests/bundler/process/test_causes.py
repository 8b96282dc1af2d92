"""The cause of an exception: TensorFlow's and ONNX Runtime's own exceptions, shortened to message and node."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bundler.process.causes import LONGEST, cause_of, chain_of


def caught(function: Callable[[], Any]) -> Exception:
    try:
        function()
    except Exception as exc:  # noqa: BLE001 - the exceptions of these libraries have no common base class
        return exc
    pytest.fail("nothing was raised")


@pytest.fixture(scope="module")
def signatures(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The signatures of a SavedModel loaded from disk, each with a node that stops for five values."""
    import tensorflow as tf

    vector = [tf.TensorSpec([None], tf.float32)]
    module = tf.Module()
    module.one = tf.function(lambda x: {"y": tf.reshape(x, [2, 2], name="pairs")}, input_signature=vector)
    module.loop = tf.function(lambda x: {"y": tf.while_loop(
        lambda i, a: i < 3, lambda i, a: (i + 1, tf.reshape(a, tf.stack([i + 1, 5]))[0]), [0, x],
        shape_invariants=[tf.TensorShape([]), tf.TensorShape([None])],
    )[1]}, input_signature=vector)  # fmt: skip
    module.fixed = tf.function(lambda x: {"y": tf.ensure_shape(x, [3])}, input_signature=vector)
    folder = str(tmp_path_factory.mktemp("stopping"))
    tf.saved_model.save(module, folder, signatures={"one": module.one, "loop": module.loop, "fixed": module.fixed})
    loaded = tf.saved_model.load(folder)
    return loaded.signatures


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("one", "Input to reshape is a tensor with 5 values, but the requested shape has 4 (node 'pairs')"),
        ("loop", "Input to reshape is a tensor with 5 values, but the requested shape has 10 (node 'while/Reshape')"),
        ("fixed", "Shape of tensor x [5] is not compatible with expected shape [3] (node 'EnsureShape')"),
    ],
)
def test_a_loaded_graph_that_stops_names_the_cause_and_the_node(signatures: Any, name: str, cause: str) -> None:
    import tensorflow as tf

    exc = caught(lambda: signatures[name](x=tf.ones([5])))
    assert "{{node" in str(exc)
    assert cause_of(exc) == cause


def test_a_stack_of_python_lines_before_the_message_is_left_out() -> None:
    text = (
        "Graph execution error:\n\nDetected at node pairs defined at (most recent call last):\n"
        '  File "/home/ana/model.py", line 26, in <module>\n\n  File "/home/ana/model.py", line 7, in f\n\n'
        "Input to reshape is a tensor with 5 values, but the requested shape has 4\n"
        "\t [[{{node pairs}}]] [Op:__inference_f_319]"
    )
    cause = "Input to reshape is a tensor with 5 values, but the requested shape has 4 (node 'pairs')"
    assert cause_of(RuntimeError(text)) == cause


def test_an_eager_operator_shows_neither_device_nor_operator_notes() -> None:
    import tensorflow as tf

    exc = caught(lambda: tf.gather(tf.ones([3]), [7]))
    assert "[Op:" in str(exc)
    assert cause_of(exc) == "indices[0] = 7 is not in [0, 3)"


def test_a_traceback_of_traced_code_before_the_message_is_left_out() -> None:
    text = (
        'in user code:\n\n    File "/home/ana/model.py", line 28, in f  *\n        return tf.matmul(x, w)\n\n'
        "    ValueError: Dimensions must be equal, but are 3 and 2 for '{{node MatMul}} = MatMul[T=DT_FLOAT](x, w)' with input "
        "shapes: [2,3], [2,3].\n"
    )
    assert cause_of(ValueError(text)).startswith("Dimensions must be equal, but are 3 and 2 for '{{node MatMul}} = MatMul")


def test_several_root_errors_are_shown_by_the_first() -> None:
    text = (
        "Graph execution error:\n\n2 root error(s) found.\n  (0) INVALID_ARGUMENT:  Incompatible shapes: [2] vs. [3]\n"
        "\t [[{{node a/Add}}]]\n\t [[b/_1]]\n  (1) INVALID_ARGUMENT:  Incompatible shapes: [2] vs. [3]\n"
        "\t [[{{node a/Add}}]]\n0 successful operations.\n0 derived errors ignored. [Op:__inference_f_1]"
    )
    assert cause_of(RuntimeError(text)) == "Incompatible shapes: [2] vs. [3] (node 'a/Add')"


@pytest.mark.parametrize(
    ("operator", "inputs", "cause"),
    [
        ("Reshape", {"x": np.ones(5, np.float32), "z": np.array([2, 2])},
         "Reshape node 'é 1': The input tensor cannot be reshaped to the requested shape. "
         "Input shape:{5}, requested shape:{2,2}"),
        ("Gather", {"x": np.ones(5, np.float32), "z": np.array([7])},
         "Gather node 'é 1': indices element out of data bounds, idx=7 must be within the inclusive range [-5,4]"),
        ("MatMul", {"x": np.ones((2, 2), np.float32), "z": np.ones((3, 2), np.float32)},
         "MatMul node 'é 1': MatMul dimension mismatch"),
        ("Add", {"x": np.ones((2, 2), np.float32), "z": np.ones((3, 2), np.float32)},
         "Add node 'é 1': Attempting to broadcast an axis by a dimension other than 1. 2 by 3"),
    ],
)  # fmt: skip
def test_a_kernel_of_onnx_runtime_shows_node_and_message_only(
    tmp_path: Path, operator: str, inputs: dict[str, Any], cause: str
) -> None:
    import onnx
    import onnxruntime
    from onnx import helper

    def value(name: str, array: Any) -> Any:
        kind = helper.np_dtype_to_tensor_dtype(array.dtype)
        return helper.make_tensor_value_info(name, kind, [f"{name}{axis}" for axis in range(array.ndim)])

    node = helper.make_node(operator, ["x", "z"], ["y"], name="é 1")
    output = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)
    graph = helper.make_graph([node], "g", [value(*item) for item in inputs.items()], [output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    exc = caught(lambda: session.run(None, inputs))
    assert "ONNXRuntimeError" in str(exc)
    assert cause_of(exc) == cause


def test_onnx_runtimes_message_of_several_lines_is_kept_whole() -> None:
    text = (
        "[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : Got invalid dimensions for input: x for the following indices\n"
        " index: 0 Got: 5 Expected: 3\n Please fix either the inputs/outputs or the model."
    )
    assert "index: 0 Got: 5 Expected: 3" in cause_of(RuntimeError(text))


def test_a_failed_condition_is_shown_by_its_message() -> None:
    text = (
        "[ONNXRuntimeError] : 1 : FAIL : Non-zero status code returned while running Attention node. Name:'att' Status "
        "Message: /onnxruntime_src/onnxruntime/core/providers/cpu/llm/attention_helper.h:70 onnxruntime::common::Status "
        "onnxruntime::attention_helper::F(const onnxruntime::Tensor*, bool) attn_mask == nullptr || f(attn_mask)[2] == 3 "
        "was false. inconsistent q_sequence_length (between attn_mask and Q)\n"
    )
    assert (
        cause_of(RuntimeError(text)) == "Attention node 'att': inconsistent q_sequence_length (between attn_mask and Q)"
    )
    location = text.replace("attn_mask == nullptr || f(attn_mask)[2] == 3 was false. ", "")
    assert cause_of(RuntimeError(location)) == cause_of(RuntimeError(text))


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("", "ValueError"),
        ("\n  \n", "ValueError"),
        ("the size is 3.\nmore about it", "the size is 3"),
        ("cannot load:\n\n  the file is short\nmore", "cannot load: the file is short"),
        ("it stopped in\n[[no node]]", "it stopped in"),
        ("in user code:", "in user code:"),
    ],
)
def test_other_messages_are_cut_to_the_first_line_and_what_it_introduces(text: str, cause: str) -> None:
    assert cause_of(ValueError(text)) == cause


def test_a_long_message_is_cut_with_an_ellipsis() -> None:
    cause = cause_of(ValueError("x" * 5000))
    assert len(cause) == LONGEST and cause.endswith("…")


def test_a_cause_that_is_raised_again_ends_the_chain() -> None:
    """An error within a library is raised again from the library's exception, which it caused."""
    known, wrapped = ValueError("known"), RuntimeError("wrapped")
    known.__cause__, wrapped.__cause__ = wrapped, known
    assert list(chain_of(known)) == [known, wrapped]
    assert list(chain_of(wrapped)) == [wrapped, known]
    assert list(chain_of(OSError())) != []
