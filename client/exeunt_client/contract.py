"""The caller's half of the contract of a served bag: what it answers and what a request may ask.

The server has the same names in `exeunt/contract.py`; tests/client/test_contract.py holds both equal.
"""

from __future__ import annotations

from enum import IntEnum

PROBABILITIES = "PROBABILITIES"  # float32 [rows, classes], the vote that answered
LABEL = "LABEL"  # int64 [rows, 1], -1 where no member gave a finite vote
EXIT = "EXIT"  # int32 [rows, 1], index of the exit that answered
REASON = "REASON"  # int32 [rows, 1], see Reason
RISK = "RISK"  # float32 [rows, 1], estimated probability that LABEL differs from the full vote's label
ANSWER_DTYPES = {PROBABILITIES: "float32", LABEL: "int64", EXIT: "int32", REASON: "int32", RISK: "float32"}
TOP_LABELS = "TOP_LABELS"  # int64 [rows, top], labels by falling probability; only where the bag has `top`
TOP_PROBABILITIES = "TOP_PROBABILITIES"  # float32 [rows, top], theirs
TOP_DTYPES = {TOP_LABELS: "int64", TOP_PROBABILITIES: "float32"}
ROW = "ROW"  # int64 [rows, 1], output of a stream: which row of the request this is

# request parameters (KServe v2 "parameters")
PARAMETER_EXIT = "exit"  # "never": wait for the full vote
PARAMETER_DEADLINE_MS = "deadline_ms"
PARAMETER_MAX_RISK = "max_risk"
PARAMETER_SERVICE_CLASS = "service_class"


def stream_model(bag: str) -> str:
    """Triton model that sends the rows of a request as they leave."""
    return f"{bag}_stream"


class Reason(IntEnum):
    """Why an answer left when it did."""

    FULL = 0
    EARLY = 1
    LOSSLESS = 2
    DEADLINE = 3
    DEGRADED = 4
