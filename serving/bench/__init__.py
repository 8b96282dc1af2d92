"""Load tests: latency and throughput of servers over the number of clients."""
