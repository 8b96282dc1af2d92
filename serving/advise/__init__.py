"""Measured advice on batching and threads for a model on this machine."""
