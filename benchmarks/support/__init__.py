"""What the benchmarks share: measuring, peers, models, and the processes that they start."""
