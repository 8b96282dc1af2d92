"""The ONNX graph before it is lowered: reading it and bringing it to one normal form, one pass per file."""
