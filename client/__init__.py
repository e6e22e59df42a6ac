"""Typed clients, the open-loop load generator, and the tools that measure with them."""
