"""What the way of a request costs beside the members: time of one core, by the processes that it passes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PathCosts:
    """Time of one core, microseconds.

    Attributes:
        request_us: from the caller's send until Triton begins the model: client, network, Triton's front.
        reply_us: back.
        hop_us: of one request of a model that Triton runs in a Python process: two copies, two wakes.
        ticket_us: of a request in the exit controller, whatever its exits.
        decide_us: of one exit there.
    """

    request_us: float
    reply_us: float
    hop_us: float
    ticket_us: float
    decide_us: float

    @property
    def arrival_us(self) -> float:
        """Of a request until the exit controller has made a ticket of it."""
        return self.request_us + self.hop_us + self.ticket_us

    def plain_us(self, members: int) -> float:
        """Of a request to the plain ensemble: a hop to each member and one to the vote."""
        return self.request_us + (members + 1) * self.hop_us + self.reply_us

    def engine_us(self, exits: int) -> float:
        """Of a request in engine mode that is finished: one hop, to the exit controller."""
        return self.request_us + self.hop_us + self.ticket_us + exits * self.decide_us + self.reply_us

    def ensemble_us(self, segments: int, exits: int, calls: int) -> float:
        """Of a request in ensemble mode that is finished: a hop for each segment, tap and call."""
        hops = 1 + segments + exits + calls
        return self.request_us + hops * self.hop_us + self.ticket_us + exits * self.decide_us + self.reply_us


# CPU time of the client, of Triton and of its Python processes, by /proc/PID/task/*/schedstat, over 60 requests of one
# caller: three nets of 0.1 ms each, asked one alone, as the plain ensemble, in engine mode and in ensemble mode (16
# hops), on two cores of a virtual machine (AMD EPYC): 1.1, 2.4, 2.8 and 8.9 ms without the nets
TRACED = PathCosts(request_us=450.0, reply_us=250.0, hop_us=430.0, ticket_us=500.0, decide_us=300.0)
