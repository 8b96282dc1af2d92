"""Models that return their inputs, in a real `ServerCore` but without TensorFlow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from serving.protocol.messages import message, serving_message
from serving.protocol.open_inference.tensors import DATATYPES
from serving.protocol.status import invalid_argument
from serving.protocol.tensors import Array, array_dtype_name, dtype_number
from serving.server.config.options import ServerOptions
from serving.server.models.core import ServerCore
from serving.server.observability.metrics import Metrics

OPTIONS = ServerOptions(
    model_config_file="unused", open_inference_protocol=True, settle_seconds=0, poll_seconds=0, max_load_retries=0,
    allow_labels_for_unavailable=True, max_tensor_elements=10_000, max_nesting=10,
)  # fmt: skip


def signature(dtype: str, dims: Sequence[int] | None) -> Any:
    """Return a SignatureDef with input `x` and output `y` of a dtype; None for an unknown rank."""
    definition = message("tensorflow.SignatureDef")(method_name="tensorflow/serving/predict")
    for tensors, name in ((definition.inputs, "x"), (definition.outputs, "y")):
        tensors[name].name = "x:0"
        tensors[name].dtype = dtype_number(dtype)
        tensors[name].tensor_shape.unknown_rank = dims is None
        for size in dims or ():
            tensors[name].tensor_shape.dim.add(size=size)
    return definition


class Echo:
    """A servable whose output `y` is its input `x`, with a signature for each datatype of the protocol."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.signatures = {name.lower(): signature(dtype, None) for name, dtype in DATATYPES.items()}
        self.signatures["serving_default"] = signature("float32", (-1, 2))
        self.signatures["complex"] = signature("complex64", (-1,))

    def run(self, feeds: Mapping[str, Array], fetches: Sequence[str]) -> list[Array]:
        """Return the input once per fetch. As TensorFlow does, refuse one of a dtype that no signature has."""
        if "complex" in array_dtype_name(feeds["x:0"]):
            raise invalid_argument("complex")
        return [feeds["x:0"] for _ in fetches]

    def close(self) -> None:
        """Nothing to free."""


@contextmanager
def echo_core(folder: Path, options: ServerOptions = OPTIONS) -> Iterator[ServerCore]:
    """Run a core with the model `echo`: version 1, which cannot be loaded, version 2 with the label `stable`, and version 3."""
    for version in ("1", "2", "3"):
        (folder / "echo" / version).mkdir(parents=True)
    config = serving_message("ModelServerConfig")()
    model = config.model_config_list.config.add(
        name="echo", base_path=str(folder / "echo"), model_platform="tensorflow", version_labels={"stable": 2}
    )
    model.model_version_policy.all.SetInParent()

    def load(name: str, version: int, path: str) -> Any:
        if version == 1:
            raise invalid_argument("the file is damaged")
        return Echo(path)

    core = ServerCore(options, load, Metrics())
    core.start(config)
    try:
        yield core
    finally:
        core.stop()
