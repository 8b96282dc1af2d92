"""TFLite files of a model: variants, calibration, and the measured size, latency and accuracy of each file."""

from bundler.tflite.build import build_variants, make_variants
from bundler.tflite.processes import Processes
from bundler.tflite.rejected import Outcome, RejectedVariant
from bundler.tflite.request import check_request
from bundler.tflite.result import VariantResult

__all__ = ["Outcome", "Processes", "RejectedVariant", "VariantResult", "build_variants", "check_request", "make_variants"]
