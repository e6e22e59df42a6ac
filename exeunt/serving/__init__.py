"""Start, check and stop a Triton server."""
