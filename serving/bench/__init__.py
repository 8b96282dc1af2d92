"""Load tests: latency and throughput over the number of clients."""
