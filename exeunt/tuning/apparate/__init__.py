"""Apparate's tuner as published (SOSP'24): greedy threshold search and ramp adjustment."""
