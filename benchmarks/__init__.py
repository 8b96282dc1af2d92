"""Measurements against the project's limits and its peers, one file per question; see docs/benchmarks.md."""
