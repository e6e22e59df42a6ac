"""Bags of small CNNs that torch trains in seconds, for benchmarks."""
