"""Every tuner on every stream: python -m benchmarks.comparison writes docs/comparison.md."""
