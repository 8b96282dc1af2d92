"""A client of TensorFlow Serving's protocol over gRPC and REST; needs grpcio, protobuf and NumPy alone."""
