"""Architectures that cannot be compared in half precision, each with the reason; one that agrees must be removed from the list.

A reason starts with `PyTorch: ` where PyTorch itself does not run or export the model in the dtype, and with `refused: ` where
the conversion is refused.
"""

from __future__ import annotations

REASONS: dict[tuple[str, str], str] = {
    ("fourier_operator", "bfloat16"): "PyTorch: Unsupported dtype BFloat16",
    ("fourier_operator", "float16"): "PyTorch: Unsupported dtype Half",
    ("gat", "bfloat16"): "PyTorch: scatter(): Expected self.dtype to be equal to src.dtype",
    ("gat", "float16"): "PyTorch: scatter(): Expected self.dtype to be equal to src.dtype",
    ("gcn", "bfloat16"): "PyTorch: mat1 and mat2 must have the same dtype, but got Float and BFloat16",
    ("gcn", "float16"): "PyTorch: mat1 and mat2 must have the same dtype, but got Float and Half",
    ("gru_lstm_attention", "float16"): "PyTorch: value cannot be converted to type c10::Half without overflow",
    ("log_mel", "bfloat16"): "PyTorch: MKL FFT doesn't support tensors of type: BFloat16",
    ("log_mel", "float16"): "PyTorch: MKL FFT doesn't support tensors of type: Half",
    ("mfcc", "bfloat16"): "PyTorch: MKL FFT doesn't support tensors of type: BFloat16",
    ("mfcc", "float16"): "PyTorch: MKL FFT doesn't support tensors of type: Half",
    ("optical_flow", "bfloat16"): "PyTorch: expected m1 and m2 to have the same dtype, but got: c10::BFloat16 != float",
    ("optical_flow", "float16"): "PyTorch: expected m1 and m2 to have the same dtype, but got: c10::Half != float",
    ("point_cloud", "bfloat16"): "PyTorch: \"cdist\" not implemented for 'BFloat16'",
    ("point_cloud", "float16"): "PyTorch: \"cdist\" not implemented for 'Half'",
    ("spatial_transformer", "bfloat16"): "PyTorch: expected scalar type BFloat16 but found Float",
    ("spatial_transformer", "float16"): "PyTorch: expected scalar type Half but found Float",
}
