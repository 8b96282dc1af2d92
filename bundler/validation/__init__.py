"""The proof that a bundle's artifacts answer what PyTorch answers: comparison, diagnosis, golden data."""
