"""Architectures that cannot be compared in half precision, each with the reason; one that agrees must be removed from the list.

A reason starts with `PyTorch: ` where PyTorch itself does not run or export the model in the dtype, and with `refused: ` where
the conversion is refused. With `ties: `, the indices of sorted scores differ where rounding decides their order.
"""

from __future__ import annotations

FAR = "PyTorch: its outputs differ from its float32 outputs by more than half"
TIES = "ties: scores that are equal or one step apart, whose order rounding decides"

REASONS: dict[tuple[str, str], str] = {
    ("bart", "float16"): "PyTorch: in float16 alone, the model has a branch that depends on values (a clamp of infinities)",
    ("centernet", "bfloat16"): FAR,
    ("coat_lite_tiny", "bfloat16"): "PyTorch: Input type (c10::BFloat16) and bias type (float) should be the same",
    ("coat_lite_tiny", "float16"): "PyTorch: Input type (c10::Half) and bias type (float) should be the same",
    ("fake_quantized", "bfloat16"): "PyTorch: fake_quantize_per_channel_affine has no kernel for BFloat16",
    ("fake_quantized", "float16"): "PyTorch: fake_quantize_per_channel_affine has no kernel for Half",
    ("fnet", "bfloat16"): "PyTorch: Unsupported dtype BFloat16",
    ("fnet", "float16"): "PyTorch: Unsupported dtype Half",
    ("sequential_recommender", "bfloat16"): TIES,
    ("sequential_recommender", "float16"): TIES,
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
