"""Recorded feedback through the same controller and tuners, offline."""
