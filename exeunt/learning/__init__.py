"""Ramps that learn in service: finished rows bring features and full votes, from which better heads are fitted.

    rows.py            finished rows as arrays, and tables of them
    reservoir.py       which rows are kept to learn from, and which to judge by
    vote_structure.py  how the members' votes become those of the exits
    refit.py           one head, from features to the full vote
    judge.py           whether new heads let more rows leave at the same risk
    job.py             one job beside serving: judge the candidate, fit the next
    learner.py         what is kept between jobs: rows, heads, candidate, processor time
    files.py           heads and rows in files

Heads are no part of the full vote nor of the lossless stop, and the promise does not depend on them (docs/promise.md).
Pure but for `files.py`: time, chance and the processor's clock are arguments.
"""
