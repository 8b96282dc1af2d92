"""Rules that rewrite operators of older opsets with the meaning that they have today, one module per kind of change.

Each rule is taken from the changelog of ONNX's operators: https://github.com/onnx/onnx/blob/main/docs/Changelog.md
"""
