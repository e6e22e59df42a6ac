"""Ramps: features of a cut, heads trained on them, and what they cost."""
