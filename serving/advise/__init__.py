"""Measured advice on batching and thread settings for a model on this machine."""
