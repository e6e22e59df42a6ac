"""The bag file, and the samples that it names."""
