"""The Open Inference Protocol (KServe's v2 protocol): messages, datatypes, and JSON bodies with binary tensors.

The rules are those of the specification at https://github.com/kserve/open-inference-protocol and of its binary tensor extension
(Triton's `docs/protocol/extension_binary_data.md`). Nothing here knows of models or servers.
"""
