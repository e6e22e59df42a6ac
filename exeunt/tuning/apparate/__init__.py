"""The `hill_climb` tuner: Apparate's two loops (SOSP'24), as published; for comparison, since it promises nothing.

hill_climb.py        the tuner: when to search and to adjust, on which rows
threshold_search.py  the first loop: thresholds by greedy hill climb (algorithm 1)
bitset_rows.py       the rows of a search as bit sets, which makes a trial a few integer operations
ramp_adjustment.py   the second loop: which exits to offer (algorithm 2)
options.py           the constants of the paper and of the public code
"""
