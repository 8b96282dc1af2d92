"""Measurements against the limits of the project and against its peers; see docs/benchmarks.md."""
