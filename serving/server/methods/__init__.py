"""The RPC methods of TensorFlow Serving, for gRPC and REST alike: a request message in, a response message out."""
