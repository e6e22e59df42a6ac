"""From a request to its answer: who waits, who leaves at which exit, and what that costs the promise.

controller.py     requests in, releases out; votes on what arrives
decisions.py      the decision core: who leaves, coins, accounts, learning; the replay drives it, too
batch.py          the rows of one ticket and what was decided about them
ticket.py         a batch of whole client requests, the members' votes on it, its answers
request.py        request options, requests, releases
request_queue.py  who waits: bounded in rows and time, fair between classes of service
votes.py          the vote of an exit, and the lossless stop
confidence.py     scores of a vote
counters.py       what metrics and status read
calibration.py    the calibration rows that export wrote, as feedback
"""
