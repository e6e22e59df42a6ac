"""Load, latency, perf_analyzer: what a served bag does, measured from outside."""
