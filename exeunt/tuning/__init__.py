"""Tuners decide which rows may leave early, and learn from those that finish.

tuner.py        the interface, and what passes through it
registry.py     the tuners by name
error_budget/   `budget`, the default: keeps a promise on the loss
apparate/       `hill_climb`: Apparate's algorithm
static.py       `static`: thresholds from the calibration data, never moved
patience.py     `patience`: leave after several exits with the same label
evidence.py     feedback in the form that the searches of `hill_climb` and `static` read
"""
