"""From a request to its answer: who waits, who leaves at which exit, and what that costs the promise.

controller.py     requests in, releases out; votes on what arrives
admission.py      which requests become the next ticket, with which exits (gears.py, under load lean.py)
decisions.py      the decision core: who leaves, accounts, learning; the replay drives it, too
events.py         everything else that changes decisions, numbered so that it can be replayed
batch.py          the rows of one ticket, what was decided about them, and the coins: which run on to the full vote
ticket.py         a batch of whole client requests, the members' votes on it, its answers
request.py        request options, requests, releases
request_queue.py  who waits: bounded in rows and time, fair between classes of service
votes.py          the vote of an exit, how sure it is, and the lossless stop
heads.py          the ramps' heads that tickets are run with
counters.py       what metrics and status read
calibration.py    the calibration rows that export wrote, as feedback
"""
