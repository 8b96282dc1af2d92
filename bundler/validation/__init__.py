"""The proof that a bundle's artifacts compute what PyTorch computes: comparison, diagnosis, golden data."""
