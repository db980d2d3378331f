"""A real Kafka broker as a child process: for the demo, tests and benchmarks."""
