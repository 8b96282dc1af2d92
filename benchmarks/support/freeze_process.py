"""Makes the weights of a SavedModel constants of its graph: `python -m benchmarks.support.freeze_process SOURCE TARGET`."""

from __future__ import annotations

import sys
from pathlib import Path


def main(source: str, target: str) -> None:
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    model = tf.saved_model.load(source)
    signature = model.signatures["serving_default"]
    frozen = convert_variables_to_constants_v2(signature, lower_control_flow=False)
    names, outputs = [tensor.op.name for tensor in frozen.inputs], sorted(signature.structured_outputs)
    specs = {name: tf.TensorSpec(tensor.shape, tensor.dtype, name) for name, tensor in zip(names, frozen.inputs, strict=True)}

    @tf.function(autograph=False, input_signature=list(specs.values()))
    def serve(*tensors: tf.Tensor) -> dict[str, tf.Tensor]:
        return dict(zip(outputs, frozen(*tensors), strict=True))

    owner = tf.Module()
    owner.serve = serve
    tf.saved_model.save(owner, target, signatures=serve.get_concrete_function())


if __name__ == "__main__":
    main(str(Path(sys.argv[1])), str(Path(sys.argv[2])))
