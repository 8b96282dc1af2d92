"""What lies between a module and its ONNX file: the flat call, torch's exporters, dims of the outputs, failures."""
