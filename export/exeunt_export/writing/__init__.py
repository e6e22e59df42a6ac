"""The Triton model repository, written all of it or nothing."""
