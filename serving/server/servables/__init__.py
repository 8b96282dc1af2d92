"""Loaded model versions: a SavedModel in a session or a model.tflite with its interpreters, and their warm-up."""
