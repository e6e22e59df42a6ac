"""What must be true of a server after every phase, whatever was sent to it."""

from __future__ import annotations

import json
import time
import urllib.request
from dataclasses import dataclass, field

from exeunt.contract import Reason
from exeunt.hosting.status import find_status
from exeunt.serving.processes import members
from tests.triton.calls import ask
from tests.triton.qa.bag import ROWS, Served
from tests.triton.qa.metrics import value_of
from tests.triton.qa.wire import infer, tensor

IDLE_WITHIN_S = 60.0


@dataclass
class Witness:
    """Looks at a server between phases.

    Args:
        served: the bag of the QA cases, running.

    Attributes:
        processes: of the server, as they were at first.
    """

    served: Served
    processes: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.processes = sorted(members(self.served.server.pid))

    def complaints(self) -> list[str]:
        """Everything that is not as it should be."""
        complaints = self.wrong_answers()
        if sorted(members(self.served.server.pid)) != self.processes:
            complaints.append("a process of the server has died")
        complaints += self._in_flight()
        promise_broken = find_status(self.served.server.state_dir, "tiny").metrics.get("promise_broken", 0.0)
        if promise_broken:
            complaints.append(f"promise_broken is {promise_broken:g}")
        faults = value_of(self.served.server, "exeunt_thread_faults_total")
        if faults:
            complaints.append(f"{faults:g} errors that nobody had foreseen were survived")
        return complaints

    def wrong_answers(self) -> list[str]:
        """Good requests over every protocol, with and without early exits, against votes computed offline."""
        server, complaints = self.served.server, []
        for wish in ({}, {"exit": "never"}):
            for protocol in ("http", "grpc"):
                outputs = ask(server, protocol, ROWS, **wish)
                complaints += self.served.wrong(outputs)
                if wish and (outputs["REASON"] != Reason.FULL).any():
                    complaints.append('exit = "never" was not the full vote')
        status, text = infer(server.http_url, {"inputs": [tensor(ROWS)], "parameters": {"exit": "never"}})
        labels = next(item["data"] for item in json.loads(text)["outputs"] if item["name"] == "LABEL")
        if status != 200 or labels != self.served.votes[self.served.last].argmax(axis=1).tolist():
            complaints.append(f"JSON: status {status}, labels {labels}")
        return complaints

    def _in_flight(self) -> list[str]:
        end_s, since = time.monotonic() + IDLE_WITHIN_S, time.time()
        while True:
            status = find_status(self.served.server.state_dir, "tiny")
            in_flight = status.tickets_in_flight, status.waiting_rows
            if status.written_unix_s > since and in_flight == (0, 0):
                return []
            if time.monotonic() > end_s:
                return [f"still in flight: {in_flight[0]} tickets, waiting: {in_flight[1]} rows"]
            time.sleep(0.1)


def config_of(served: Served, model: str) -> bytes:
    """A model's config, as the server tells it."""
    with urllib.request.urlopen(f"http://{served.server.http_url}/v2/models/{model}/config", timeout=30) as answer:
        return answer.read()
