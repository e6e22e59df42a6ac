"""A server under requests that no good client sends: `python -m benchmarks.fuzz`."""
