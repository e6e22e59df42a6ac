"""The serving benchmark: bags of published models, and one of glyphs, beside the plain Triton ensemble."""
