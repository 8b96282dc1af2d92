"""From a loaded model to ONNX files: the flat call, torch's exporters, dims of the outputs, failures."""
