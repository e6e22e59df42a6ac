"""Recorded or computed votes through the server's own decision core, offline.

stream.py    rows with their votes, in the order in which these came
replay.py    drives the decision core along a stream
jobs.py      the tuner's jobs and the time that it takes
run.py       the answers of one policy, and what they are worth
policies.py  tuners with options, as the command line names them
tables.py, plots.py    results to read and to look at
"""
