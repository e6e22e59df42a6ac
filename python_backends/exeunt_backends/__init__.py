"""Python-based Triton backends: one folder each, thin adapters over the core."""
