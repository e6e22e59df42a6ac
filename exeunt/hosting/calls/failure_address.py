"""Where a step of NAME_bag reports that it failed.

Triton before 26.02 may answer a call of an ensemble twice when a step fails while other steps begin, and the second
answer ends the server (core r24.10, `EnsembleContext::ScheduleSteps`: a second `FinishEnsemble`). So a call tells its
steps, in a request parameter that Triton hands on to each, where to report. Our onnxruntime stand-in then sends
what went wrong to the exit controller and answers the step with zeros, which nobody will use: for Triton no step fails.

The address holds a word that only this call has. It is not the call's secret: who knows it can make the call fail, no
more.
"""

from __future__ import annotations

from exeunt.contract import exit_model

LONGEST_TEXT = 2000  # characters of a report that are kept


def address_before_word(bag: str) -> str:
    """What stands before the word of a call in the value of contract.PARAMETER_REPORT_TO."""
    return f"{exit_model(bag)}:"


def read_address(text: str) -> tuple[str, int] | None:
    """The exit controller's model and the word; None where it is no such address, as a stranger may send."""
    model, _, word = text.rpartition(":")
    is_word = word.isascii() and word.isdigit() and len(word) < 20 and int(word) < 1 << 63
    return (model, int(word)) if is_word and model.endswith(exit_model("")) and model != exit_model("") else None
