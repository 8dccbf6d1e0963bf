"""What both the examples and the benchmarks use."""
