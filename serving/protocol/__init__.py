"""TensorFlow Serving's protocol without TensorFlow: messages, tensors, JSON, config files, and the rules of each."""
