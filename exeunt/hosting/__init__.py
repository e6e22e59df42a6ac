"""The process around the pure controller: lock, clock, threads, files. Knows neither Triton nor onnxruntime."""
