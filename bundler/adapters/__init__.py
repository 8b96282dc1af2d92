"""Derived signatures: adapters around a base signature of the model, built into the SavedModel's graph.

    input adapters                                                  output adapters

    examples   serialized tf.Examples  ─┐                           ┌─ classify   classes and scores
    image      JPEG or PNG files        ├─►  a base signature of  ──┤
    text       sentences                │    the model              └─ regress    one number per row
    mask       token ids               ─┘

Each adapter is one module. An input adapter converts its own inputs into the inputs of the signature that it wraps. It also
builds the test calls for the parity check, and checks its graph against an independent implementation (protobuf, Pillow or
tokenizers). `derive` combines the adapters into signatures.
"""

from bundler.adapters.derive import check_request, derive

__all__ = ["check_request", "derive"]
