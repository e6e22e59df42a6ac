"""What the replicas of a bag share through a store: accounts that change hands, and what was learnt.

Pure (time and ids are arguments):

    ledger.py        what the store keeps of one class of service: savings and debt at rest, and every life
    ledger_text.py   the same as JSON text, checked when it is read
    life.py          one life's dealings with the ledger: what it hands over, what it takes, each exactly once

A *life* is one account from the start of a server to its end. The store is never asked on a request's path.
docs/promise.md, section 7, says what is proved of it.
"""
