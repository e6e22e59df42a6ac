"""Ensemble mode: calls of NAME_bag, and of the ensembles of stages that begin or end inside members.

stage_queue.py      which call is made next: of one ticket, or feedback of several
call_inputs.py      what a call takes and keeps: the bag's inputs, or cut tensors
cut_rows.py         the cut tensors of the rows that still run, between two calls
bag_calls.py        calls under way: their secrets, and what taps may bring
heads_at_taps.py    votes of the features that taps bring, where the exit controller holds the ramps' heads
tap_outputs.py      what the taps of a ticket have brought, for ramps that learn
call_watch.py       calls that Triton has lost
failure_address.py  where the steps of a call report that they failed
"""
