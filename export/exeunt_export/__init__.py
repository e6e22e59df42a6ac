"""From trained classifiers to a Triton model repository with exits."""
