"""TensorFlow Serving's protocol without TensorFlow: messages, tensors, JSON, statuses and files, by the server's rules."""
