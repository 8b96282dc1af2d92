"""Signatures made of others, in the graph: what stands at a model's edges.

    examples   serialized tf.Examples  ─┐                           ┌─ classify   classes and scores
    image      JPEG or PNG files        ├─►  a signature of the  ──►│
    text       sentences               ─┘    model, its weights     └─ regress    one number

Each edge is one file. An input edge makes the inputs of what is behind it; it also gives calls for the proof: what it takes
and what it has to make of it, said by another implementation (protobuf, Pillow, tokenizers). `derive` puts them together.
"""

from bundler.adapters.derive import check_request, derive

__all__ = ["check_request", "derive"]
