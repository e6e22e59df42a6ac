"""What the calls of a ticket take, and what they bring back for the next."""

from __future__ import annotations

import numpy as np

from exeunt.bag_stages import BagStages, PlannedCall
from exeunt.deciding.ticket import Ticket
from exeunt.hosting.calls.bag_calls import BagCall
from exeunt.hosting.calls.cut_rows import CutRows, misfit
from exeunt.hosting.calls.stage_queue import TicketWork


class CallInputs:
    """The inputs of calls: the bag's, and cut tensors where a stage begins inside members."""

    def __init__(self, stages: BagStages) -> None:
        self._stages = stages

    def of(self, work: TicketWork, rows: np.ndarray, planned: PlannedCall) -> dict[str, np.ndarray]:
        """What a call takes of a ticket's rows (indices, ascending): input -> [rows, ...]."""
        inputs = {tensor.name: work.inputs[tensor.name] for tensor in self._stages.public_inputs(planned.start)}
        if len(rows) < work.ticket.rows:
            inputs = {name: array[rows] for name, array in inputs.items()}
        return inputs if work.cuts is None or planned.start is None else inputs | work.cuts.of(rows)

    def joined(self, parts: list[tuple[TicketWork, np.ndarray]], planned: PlannedCall) -> dict[str, np.ndarray]:
        """What one call takes of the rows of several tickets, in their order."""
        inputs = [self.of(work, rows, planned) for work, rows in parts]
        return {name: np.concatenate([ticket_inputs[name] for ticket_inputs in inputs]) for name in inputs[0]}

    def cut_names(self, planned: PlannedCall) -> list[str]:
        """The cut tensors that a call is asked for."""
        return [one.name for one in self._stages.brought_back(planned.start, planned.end)]

    def keep(self, work: TicketWork, rows: np.ndarray, planned: PlannedCall, call: BagCall) -> str | None:
        """Keep what a call has brought back for the next one.

        Args:
            work: of the call's ticket.
            rows: indices of the ticket's rows that it ran.
            planned: what it was made for.
            call: with its cut tensors.

        Returns:
            what is wrong with them; None if nothing is.
        """
        before, work.cuts = work.cuts, None
        if planned.end is None:
            return None
        if call.cut_rows is None:
            return "it brought no cut tensors"
        running_rows = rows[call.cut_rows]
        problem = misfit(call.cuts, self._stages.brought_back(planned.start, planned.end), len(running_rows))
        if problem is None:
            arrays = {**(before.of(running_rows) if before else {}), **call.cuts}
            work.cuts = CutRows(
                running_rows, {one.name: arrays[one.name] for one in self._stages.crossings(planned.end)}
            )
        return problem


def places_that_run(ticket: Ticket, ticket_rows: np.ndarray | None) -> np.ndarray:
    """Which of a call's rows (indices) still run.

    Args:
        ticket: whose rows they are.
        ticket_rows: indices in the ticket; None = all.
    """
    return np.flatnonzero(ticket.running if ticket_rows is None else ticket.running[ticket_rows])
