"""Tuners: what decides how early an answer may leave."""
