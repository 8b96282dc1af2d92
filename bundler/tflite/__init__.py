"""TFLite files of a model: variants, calibration, and what they cost in size, time and accuracy."""

from bundler.tflite.build import VariantResult, build_variants, check_request

__all__ = ["VariantResult", "build_variants", "check_request"]
